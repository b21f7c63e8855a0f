"""Gradloom: a scalar autograd engine. Write scalars. Run arrays."""
