"""The scalar autograd engine. Read `ops` (the table), then `operand` and `value` (the graph).

`autodiff` adds derivatives of any order, `check` ways to distrust them.
"""

from gradloom.core.value import Value

__all__ = ["Value"]
