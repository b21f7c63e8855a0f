"""Functions of floating-point numbers by integers alone, for processors without instructions.

Where a processor has no square root and no rounding, LLVM calls the C library's. An object that is
to need no library brings its own instead. Sums, products and quotients are left to the compiler's
helpers (`__aeabi_dadd`, `__muldf3`, ...), which every C compiler links by itself.
"""

from typing import NamedTuple


class _Form(NamedTuple):
    """How a number is laid out: its type, its bits, those of the fraction, C's suffix."""

    real: str
    bits: int
    fraction: int
    suffix: str


_FORMS = [_Form("double", 64, 52, ""), _Form("float", 32, 23, "f")]


def definitions(names: list[str]) -> str:
    """The text of those of these functions that can be had here.

    >>> definitions(["floor", "__adddf3"]).splitlines()[0]
    'define internal double @floor(double %x) nounwind noinline {'
    """
    found = []
    for form in _FORMS:
        for name, body in _BODIES.items():
            if name + form.suffix in names:
                found.append(_function(name + form.suffix, body, form))
    if not found:
        return ""
    used = [f"ptr @{name}" for name in names if any(f" @{name}(" in text for text in found)]
    keep = f"@llvm.used = appending global [{len(used)} x ptr] [{', '.join(used)}]"
    return "\n".join([*found, keep])


def _function(name: str, body: str, form: _Form) -> str:
    bits, fraction = form.bits, form.fraction
    numbers = {
        "R": form.real,
        "I": f"i{bits}",
        "BITS": bits,
        "FRACTION": fraction,
        "BIAS": (1 << (bits - fraction - 2)) - 1,
        "EXPONENT": (1 << (bits - fraction - 1)) - 1,
        "MASK": (1 << fraction) - 1,
        "ONE": 1 << fraction,
        "TOP": 1 << (bits - 1),
        "ABS": (1 << (bits - 1)) - 1,
        "INF": ((1 << (bits - fraction - 1)) - 1) << fraction,
        "NAN": ((1 << (bits - fraction)) - 1) << (fraction - 1),
        "UNIT": ((1 << (bits - fraction - 2)) - 1) << fraction,
        "ROOT": 1 << (fraction + 1),
    }
    for word in sorted(numbers, key=len, reverse=True):
        body = body.replace(f"${word}", str(numbers[word]))
    operands = ", ".join(f"{form.real} %{x}" for x in ("xy" if "%y" in body else "x"))
    return f"define internal {form.real} @{name}({operands}) nounwind noinline {{\n{body}}}"


# Towards 0: of the bits those behind the point are cleared.
_CUT = """\
  %b = bitcast $R %x to $I
  %e0 = lshr $I %b, $FRACTION
  %e1 = and $I %e0, $EXPONENT
  %e = sub $I %e1, $BIAS
  %small = icmp slt $I %e, 0
  %large = icmp sge $I %e, $FRACTION
  %in0 = select i1 %small, $I 0, $I %e
  %in = select i1 %large, $I 0, $I %in0
  %behind = lshr $I $MASK, %in
  %keep = xor $I %behind, -1
  %cut = and $I %b, %keep
  %sign = and $I %b, $TOP
  %c0 = select i1 %small, $I %sign, $I %cut
  %c = select i1 %large, $I %b, $I %c0
  %t = bitcast $I %c to $R
"""
_TRUNC = _CUT + "  ret $R %t\n"


def _stepped(relation: str, operation: str) -> str:
    """Rounding one way: cut, and one further where that was the wrong way."""
    return (
        _CUT
        + f"""\
  %wrong = fcmp {relation} $R %t, %x
  %one = bitcast $I $UNIT to $R
  %next = {operation} $R %t, %one
  %found = select i1 %wrong, $R %next, $R %t
  ret $R %found
"""
    )


# Sums with the first number that has no bits behind the point round to even.
_EVEN = """\
  %b = bitcast $R %x to $I
  %sign = and $I %b, $TOP
  %a = and $I %b, $ABS
  %m0 = add $I $BIAS, $FRACTION
  %m = shl $I %m0, $FRACTION
  %whole = icmp uge $I %a, %m
  %magic = bitcast $I %m to $R
  %abs = bitcast $I %a to $R
  %up = fadd $R %abs, %magic
  %down = fsub $R %up, %magic
  %d = bitcast $R %down to $I
  %signed = or $I %d, %sign
  %even = bitcast $I %signed to $R
  %found = select i1 %whole, $R %x, $R %even
  ret $R %found
"""


def _extreme(relation: str) -> str:
    """The larger or smaller of two; the other where one is nan."""
    return f"""\
  %odd = fcmp uno $R %y, %y
  %better = fcmp {relation} $R %x, %y
  %first = or i1 %odd, %better
  %found = select i1 %first, $R %x, $R %y
  ret $R %found
"""


# Digit by digit, as by hand: exact, so that the last bit is rounded right.
_SQRT = """\
entry:
  %b = bitcast $R %x to $I
  %a = and $I %b, $ABS
  %zero = icmp eq $I %a, 0
  %special = icmp uge $I %b, $INF
  %odd = icmp ugt $I %a, $INF
  %asis0 = or i1 %zero, %odd
  %inf = icmp eq $I %b, $INF
  %asis = or i1 %asis0, %inf
  br i1 %asis, label %same, label %sign
same:
  ret $R %x
sign:
  br i1 %special, label %wrong, label %go
wrong:
  %nan = bitcast $I $NAN to $R
  ret $R %nan
go:
  %e0 = lshr $I %b, $FRACTION
  %sub = icmp eq $I %e0, 0
  %f0 = and $I %b, $MASK
  br i1 %sub, label %tiny, label %start
tiny:
  %te = phi $I [ 1, %go ], [ %te1, %tiny ]
  %tm = phi $I [ %f0, %go ], [ %tm1, %tiny ]
  %tm1 = shl $I %tm, 1
  %te1 = sub $I %te, 1
  %tdone = icmp uge $I %tm1, $ONE
  br i1 %tdone, label %start, label %tiny
start:
  %e = phi $I [ %e0, %go ], [ %te1, %tiny ]
  %f = phi $I [ %f0, %go ], [ %tm1, %tiny ]
  %m = or $I %f, $ONE
  %e2 = sub $I %e, $BIAS
  %low = and $I %e2, 1
  %m1 = shl $I %m, %low
  %half = ashr $I %e2, 1
  %m2 = shl $I %m1, 1
  br label %digits
digits:
  %r = phi $I [ $ROOT, %start ], [ %r1, %digits ]
  %s = phi $I [ 0, %start ], [ %s1, %digits ]
  %q = phi $I [ 0, %start ], [ %q1, %digits ]
  %left = phi $I [ %m2, %start ], [ %left1, %digits ]
  %t = add $I %s, %r
  %fits = icmp ule $I %t, %left
  %st = add $I %t, %r
  %s1 = select i1 %fits, $I %st, $I %s
  %lt = sub $I %left, %t
  %l0 = select i1 %fits, $I %lt, $I %left
  %qr = add $I %q, %r
  %q1 = select i1 %fits, $I %qr, $I %q
  %left1 = shl $I %l0, 1
  %r1 = lshr $I %r, 1
  %done = icmp eq $I %r1, 0
  br i1 %done, label %round, label %digits
round:
  %last = and $I %q1, 1
  %up = add $I %q1, %last
  %shifted = lshr $I %up, 1
  %place = add $I %half, $BIAS
  %place1 = sub $I %place, 1
  %exponent = shl $I %place1, $FRACTION
  %bits = add $I %shifted, %exponent
  %found = bitcast $I %bits to $R
  ret $R %found
"""

_BODIES = {
    "trunc": _TRUNC,
    "floor": _stepped("ogt", "fsub"),
    "ceil": _stepped("olt", "fadd"),
    "roundeven": _EVEN,
    "rint": _EVEN,
    "nearbyint": _EVEN,
    "fmax": _extreme("ogt"),
    "fmin": _extreme("olt"),
    "sqrt": _SQRT,
}
