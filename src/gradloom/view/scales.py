"""Which scale shows a curve best."""

from collections.abc import Sequence


def is_steep(values: Sequence[float]) -> bool:
    """Whether to draw these on a logarithmic scale: all above 0, the highest over 3 × the lowest.

    Example:
        >>> is_steep([1.0, 0.1]), is_steep([1.0, 0.9]), is_steep([1.0, 0.0])
        (True, False, False)
    """
    return 0 < 3 * min(values) < max(values)
