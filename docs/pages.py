"""Pages that run: what is inside a Markdown page, executed as it is read from top to bottom.

A page is prose with fenced blocks of Python. Plain ones hold examples with their results, which
must come out so (doctest). Others say what they are behind the name of the language:

    show        one expression; the site shows what a notebook would: a picture, a plot, an explorer
    exercise    what the reader completes, and behind the line `# check` how to tell
    solution    what passes that check

An exercise must fail its check as it stands, and pass with its solution. The site and the
notebooks are made from what ran, so neither shows anything that does not work.
"""

import ast
import base64
import contextlib
import doctest
import io
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
CHECK = "# check\n"
_FENCE = re.compile(
    r"^```python(?: (show|exercise|solution))?\n(.*?)^```\n", re.MULTILINE | re.DOTALL
)
# Where doctest says that a line stands, as JSON in a page has it.
_PLACE = re.compile(r"\\u003cdoctest [^>]*>:\d+: ")


@dataclass(frozen=True)
class Block:
    """A part of a page: its kind ("text", "examples", "show", …), and what is in it."""

    kind: str
    text: str
    line: int  # the first, from 0 on


@dataclass(frozen=True)
class Shown:
    """What a `show` block gave: an SVG or PNG picture, or an HTML page."""

    kind: str
    content: bytes

    @property
    def address(self) -> str:
        """The picture as an address that contains it."""
        kind = {"svg": "svg+xml"}.get(self.kind, self.kind)
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


class PageError(Exception):
    """An example, exercise or solution that does not do what its page says."""


def blocks(text: str) -> list[Block]:
    """The parts of a page in order."""
    found: list[Block] = []
    end = 0
    for fence in _FENCE.finditer(text):
        found.append(Block("text", text[end : fence.start()], text.count("\n", 0, end)))
        line = text.count("\n", 0, fence.start(2))
        found.append(Block(fence[1] or "examples", fence[2], line))
        end = fence.end()
    found.append(Block("text", text[end:], text.count("\n", 0, end)))
    return found


def run(path: Path) -> list[Shown]:
    """Execute a page, and give what it shows, in order.

    Raises:
        PageError: an example gives something else, an exercise passes as it stands, a solution
            fails, an exercise without a solution.
    """
    shown: list[Shown] = []
    exercises: list[str] = []
    examples: list[doctest.Example] = []
    page = blocks(path.read_text(encoding="utf-8"))
    for block in page:
        if block.kind == "examples":
            for example in doctest.DocTestParser().get_examples(block.text, path.name):
                example.lineno += block.line
                examples.append(example)
        elif block.kind == "show":
            source = f"__show__({_quiet(block.text)})\n"
            examples.append(doctest.Example(source, "", lineno=block.line))
        elif block.kind == "exercise":
            exercises.append(block.text)
        elif block.kind == "solution":
            if not exercises:
                raise PageError(f"{path.name}:{block.line}: a solution without an exercise")
            source = f"__check__({exercises.pop()!r}, {block.text!r})\n"
            examples.append(doctest.Example(source, "", lineno=block.line))
    if exercises:
        raise PageError(f"{path.name}: an exercise without a solution:\n{exercises[0]}")
    test = doctest.DocTest(examples, {"__name__": "page"}, path.name, str(path), 0, None)
    test.globs["__show__"] = lambda result: shown.append(_shown(result))
    test.globs["__check__"] = lambda exercise, solution: _check(exercise, solution, test.globs)
    report = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        failed = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.write).failed
    if failed:
        raise PageError(report.getvalue())
    return shown


def notebook(path: Path) -> Any:
    """A page as a notebook (nbformat's); exercises may fail, for they wait for the reader."""
    from nbformat import v4

    cells: list[Any] = []
    prose = ""
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.kind in ("text", "solution"):  # a solution stays where it is hidden
            fenced = f"```python\n{block.text}```\n"
            prose += fenced if block.kind == "solution" else block.text
            continue
        if prose.strip():
            cells.append(v4.new_markdown_cell(prose.strip()))
        prose = ""
        if block.kind == "examples":
            cells += [v4.new_code_cell(code) for code in _cells(block.text)]
        else:
            cells.append(v4.new_code_cell(block.text.strip()))
        if block.kind == "exercise":
            cells[-1].metadata["tags"] = ["raises-exception"]
    if prose.strip():
        cells.append(v4.new_markdown_cell(prose.strip()))
    for i, cell in enumerate(cells):
        cell["id"] = f"cell-{i}"  # the same at every build
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def site_markdown(text: str, shown: list[Shown], embed: Callable[[Shown, int], str]) -> str:
    """The page for the site: `show` blocks with what `embed` makes of their results."""
    parts = []
    results = iter(enumerate(shown, 1))
    for block in blocks(text):
        if block.kind == "text":
            parts.append(block.text)
            continue
        language = "pycon" if block.text.startswith(">>> ") else "python"
        parts.append(f"```{language}\n{block.text.rstrip()}\n```\n")
        if block.kind == "show":
            i, result = next(results)
            parts.append(f"\n{embed(result, i)}\n")
    return "".join(parts)


def _cells(examples: str) -> Iterator[str]:
    """The code of examples, a cell for each that has a result; those that raise stay prose."""
    cell = ""
    for example in doctest.DocTestParser().get_examples(examples):
        if example.exc_msg is not None:
            yield f"{cell}# This raises, and says why:\n{_caught(example.source)}"
            cell = ""
            continue
        cell += example.source
        if example.want:
            yield cell.strip()
            cell = ""
    if cell:
        yield cell.strip()


def _caught(source: str) -> str:
    lines = "".join(f"    {line}\n" for line in source.splitlines())
    return f"try:\n{lines}except Exception as error:\n    print(error)"


def _quiet(expression: str) -> str:
    """An expression as it stands, but an explorer goes to a file here and opens no browser."""
    call = ast.parse(expression.strip(), mode="eval").body
    if isinstance(call, ast.Call) and ast.unparse(call.func) == "gl.explore":
        options = {"path": "explorer.html", "open": False}
        call.keywords += [ast.keyword(name, ast.Constant(x)) for name, x in options.items()]
    return ast.unparse(call)


def _shown(result: Any) -> Shown:
    """What a notebook would show of a result."""
    if hasattr(result, "path") and hasattr(result, "html"):
        return Shown("html", _PLACE.sub("this page: ", result.html).encode())
    if hasattr(result, "savefig"):
        file = io.BytesIO()
        result.savefig(file, format="png", dpi=130, bbox_inches="tight")
        return Shown("png", file.getvalue())
    return Shown("svg", result._repr_svg_().encode())


def _check(exercise: str, solution: str, known: dict[str, Any]) -> None:
    """That an exercise fails as it stands, and passes with its solution."""
    _, mark, check = exercise.partition(CHECK)
    if not mark or "assert" not in check:
        raise PageError(f"an exercise without a check:\n{exercise}")
    try:
        exec(exercise, dict(known))
    except Exception:
        exec(solution + "\n" + check, dict(known))
    else:
        raise PageError(f"an exercise that passes its check untouched:\n{exercise}")
