"""Pictures of values, networks and trainings."""
