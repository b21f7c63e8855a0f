"""What Griffe does to docstrings before the reference is made of them: examples become code."""

import re
import textwrap
from typing import Any

import griffe

# From a prompt to the next empty line, at one indent or deeper.
_EXAMPLES = re.compile(r"^( *)>>> .*(?:\n\1.*\S.*)*", re.MULTILINE)


def fenced(docstring: str) -> str:
    """A docstring with each run of examples fenced; those of a section stay indented in it."""

    def fence(run: re.Match[str]) -> str:
        in_section = docstring[: run.start()].rstrip().endswith(("Example:", "Examples:"))
        indent, code = (run[1], run[0]) if in_section else ("", textwrap.dedent(run[0]))
        return f"{indent}```pycon\n{code}\n{indent}```"

    return _EXAMPLES.sub(fence, docstring)


class Examples(griffe.Extension):
    """Fences examples wherever a docstring was read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
