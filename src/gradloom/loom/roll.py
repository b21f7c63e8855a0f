"""Roll: repeated sequences of instructions as counted loops, which may be nested.

So 252 time steps, 1,000 cells or 10,000 Runge-Kutta steps are written, and compiled, once. What
is different at the ends (a first step that reads the start, a last one that meets the target)
stands before and behind the loop.
"""

from dataclasses import dataclass, replace

from gradloom.core import collector
from gradloom.loom.program import Item, Loop, Program
from gradloom.loom.repeats import Names, Run, Sheet, aligned

_ROLLED = 4  # turns, at least, of a loop
_SAVED = 8  # instructions that a loop saves, at least


@collector.paused()
def roll(program: Program) -> Program:
    """The same program with what repeats in counted loops.

    Args:
        program: a flat one; loops in it are taken as they are.

    >>> from gradloom.loom.record import record
    >>> from gradloom.loom.weave import weave
    >>> import gradloom as gl
    >>> def f(x):
    ...     for _ in range(1000):
    ...         x = gl.sin(gl.exp(x))
    ...     return x
    >>> graph, _ = record(f, 1.0)
    >>> print(roll(weave(graph)))
    arena of 2001: 1 inputs, 0 parameters; 2 instructions
            × 1000  for i:
                 1      @1+2i = exp(@0+2i)
                 1      @2+2i = sin(@1+2i)
    """
    names = Names(program.laned)
    items, runs, sheet = aligned(list(program.instructions), names, _ROLLED)
    rolled = _rolled(_looped([_Part(one) for one in items], runs, sheet, names), names)
    return replace(program, instructions=[part.item for part in rolled])


def expand(program: Program) -> Program:
    """The same program with every loop written out."""
    return replace(program, instructions=list(program.flat))


@dataclass(slots=True)
class _Part:
    """An item, and for each loop around it how far its views go with a turn."""

    item: Item
    steps: tuple[tuple[int, ...], ...] = ()


def _rolled(parts: list[_Part], names: Names) -> list[_Part]:
    """The parts with their repeats in loops; from one pass to the next loops can repeat too."""
    before = len(parts) + 1
    while _ROLLED < len(parts) < before:
        before = len(parts)
        tags = [part.steps for part in parts] if parts[0].steps else None
        sheet = Sheet([part.item for part in parts], names, tags)
        parts = _looped(parts, sheet.runs(_ROLLED), sheet, names)
    return parts


def _looped(parts: list[_Part], runs: list[Run], sheet: Sheet, names: Names) -> list[_Part]:
    """The parts with those of the runs that are worth it as loops."""
    found = []
    done = 0
    for run in runs:
        if run.saved >= _SAVED:
            found += [*parts[done : run.start], _loop(parts, sheet, run, names)]
            done = run.end
    return found + parts[done:]


def _loop(parts: list[_Part], sheet: Sheet, run: Run, names: Names) -> _Part:
    """A run as a loop, its body rolled in turn."""
    first, second = sheet.table(run)[:2]
    moves = (second - first).tolist()
    body = []
    for place in range(run.start, run.start + run.period):
        begin, end = sheet.starts[[place, place + 1]] - sheet.starts[run.start]
        part = parts[place]
        body.append(_Part(part.item, (*part.steps, tuple(moves[begin:end]))))
    body = _rolled(body, names)
    every = [sum(column, ()) for column in zip(*[part.steps for part in body], strict=True)]
    loop = Loop(run.turns, tuple([part.item for part in body]), ())
    own = iter(every.pop())
    steps = tuple([tuple([next(own) for _ in one.views]) for one in loop.members()])
    return _Part(replace(loop, steps=steps), tuple(every))
