"""Remainders and quotients rounded down, exactly as Python has them.

r = a - q · b is exact if q is the quotient rounded to an integer, as long as that has no more
digits than a number. A larger quotient, which is rare, is brought down in turns of a loop.
"""

from gradloom.backends.llvm.extended import INFINITY, in_double, rest
from gradloom.backends.llvm.ir import Arithmetic


def _positive_remainder(a: Arithmetic, x: str, y: str) -> str:
    """The remainder of x ≥ 0 by y > 0; nan for infinite x or y = 0."""
    zero = a.number(0.0)
    smaller = a.compare("olt", x, y)
    near = _brought_down(a, x, y)
    q = a.trunc(a.div(near, y))
    r = rest(a, near, q, y)
    r = a.select(a.compare("olt", r, zero), a.add(r, y), r)
    r = a.select(a.compare("oge", r, y), a.sub(r, y), r)
    return a.select(smaller, x, r)


def _brought_down(a: Arithmetic, x: str, y: str) -> str:
    """x less a multiple of y, so that the quotient is below 2^53; it may be negative then."""
    w = a.writer
    before, head, done = w.block, w.label("down"), w.label("near")
    body = w.label("turn")
    w.line(f"br label %{head}")
    w.start(head)
    r = w.name()
    at = len(w.lines)
    w.line("")
    q = a.abs(a.div(r, y))
    finite = a.both(
        a.compare("olt", a.abs(r), a.number(INFINITY)), a.compare("ogt", y, a.number(0.0))
    )
    large = a.both(finite, a.compare("oge", q, a.number(2.0**53)))
    w.line(f"br i1 {a.any(large)}, label %{body}, label %{done}")
    w.start(body)
    raised = y
    for _ in range(2):  # or the quotient would overflow
        high = a.compare("ogt", a.abs(a.div(r, raised)), a.number(2.0**1000))
        raised = a.select(high, a.mul(raised, a.number(2.0**600)), raised)
    lower = rest(a, r, a.div(r, raised), raised)
    following = a.select(large, lower, r)
    w.lines[at] = f"{r} = phi {a.real} [{x}, %{before}], [{following}, %{w.block}]"
    w.line(f"br label %{head}")
    w.start(done)
    return r


def _python_remainder(a: Arithmetic, x: str, y: str) -> tuple[str, str]:
    """The remainder with the sign of x, of fmod, and that with the sign of y."""
    zero = a.number(0.0)
    size = a.abs(y)
    r = a.copysign(_positive_remainder(a, a.abs(x), size), x)
    apart = a.compare_integers("slt", a.integers("xor", a.bits_of(r), a.bits_of(y)), a.integer(0))
    some = a.compare("une", r, zero)
    signed = a.select(a.both(some, apart), a.add(r, y), r)
    return r, a.select(some, signed, a.copysign(zero, y))


@in_double
def modulo(a: Arithmetic, x: str, y: str) -> str:
    """x % y; nan for y = 0."""
    return _python_remainder(a, x, y)[1]


@in_double
def floor_quotient(a: Arithmetic, x: str, y: str) -> str:
    """x // y; as x / y for y = 0."""
    zero, one = a.number(0.0), a.number(1.0)
    r, signed = _python_remainder(a, x, y)
    exact = a.div(a.sub(x, r), y)
    moved = a.compare("one", r, signed)
    exact = a.select(moved, a.sub(exact, one), exact)
    whole = a.floor(exact)
    low = a.compare("ogt", a.sub(exact, whole), a.number(0.5))
    whole = a.select(low, a.add(whole, one), whole)
    plain = a.div(x, y)
    whole = a.select(a.compare("oeq", exact, zero), a.copysign(zero, plain), whole)
    return a.select(a.compare("oeq", y, zero), plain, whole)
