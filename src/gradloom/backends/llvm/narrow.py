"""Counters of 32 bits, for machines whose addresses have no more.

Kernels count and index with integers of 64 bits, which take two registers and twice the
instructions on a small processor. A counter may have 32 bits instead if it is made of counters and
constants, and is used for nothing but counting, comparing and addressing; so the integers that
elementary functions make of doubles stay as they are.
"""

import re

_MADE = re.compile(r"(%\w+) = (?:phi|(?:add|sub|mul)(?: nuw)?(?: nsw)?) i64 (.*)$")
_EXTENDED = re.compile(r"(%\w+) = sext i32 (\S+) to i64$")
_COMPARED = re.compile(r"%\w+ = icmp \w+ i64 (.*)$")
_ADDRESS = "getelementptr "
_INDEX = re.compile(r"i64 (%\w+)")
_REGISTER = re.compile(r"%\w+")


def narrowed(text: str) -> str:
    """A module with shorter counters.

    >>> print(narrowed('''define void @f(ptr %p, i64 %b) {
    ... loop:
    ... %i = phi i64 [0, %entry], [%n, %loop]
    ... %q = getelementptr float, ptr %p, i64 %i
    ... %c = add i64 %b, 1
    ... %n = add nuw nsw i64 %i, 1
    ... %m = icmp slt i64 %n, 8
    ... }'''))
    define void @f(ptr %p, i64 %b) {
    loop:
    %i = phi i32 [0, %entry], [%n, %loop]
    %q = getelementptr float, ptr %p, i32 %i
    %c = add i64 %b, 1
    %n = add nuw nsw i32 %i, 1
    %m = icmp slt i32 %n, 8
    }
    """
    return "\n}\n".join(_function(part) for part in text.split("\n}\n"))


def _function(text: str) -> str:
    lines = text.split("\n")
    # Of each line that counts or compares, the registers that must have one width.
    together: list[set[str]] = []
    counters: set[str] = set()
    wide: set[str] = set()
    for line in lines:
        if made := _MADE.match(line):
            counters.add(made[1])
            together.append({made[1], *_operands(made[2])})
        elif extended := _EXTENDED.match(line):
            counters.add(extended[1])
        elif compared := _COMPARED.match(line):
            together.append(set(_operands(compared[1])))
        elif _ADDRESS not in line:
            wide.update(_REGISTER.findall(line))
    narrow = counters - wide
    while True:
        mixed = [group for group in together if group & narrow and not group <= narrow]
        if not mixed:
            break
        narrow -= set().union(*mixed)
    return "\n".join([_line(line, narrow) for line in lines])


def _operands(text: str) -> list[str]:
    """The registers among operands; of a phi, not the labels that they come from."""
    values = re.sub(r"\[\s*([^,\]]+),[^\]]*\]", r"\1", text)
    return _REGISTER.findall(values)


def _line(line: str, narrow: set[str]) -> str:
    if made := _MADE.match(line):
        return line.replace(" i64 ", " i32 ", 1) if made[1] in narrow else line
    if extended := _EXTENDED.match(line):
        known = extended[1] in narrow
        return f"{extended[1]} = add i32 {extended[2]}, 0" if known else line
    if compared := _COMPARED.match(line):
        short = narrow.intersection(_operands(compared[1]))
        return line.replace(" i64 ", " i32 ", 1) if short else line
    if _ADDRESS in line:
        return _INDEX.sub(lambda m: f"i32 {m[1]}" if m[1] in narrow else m[0], line)
    return line
