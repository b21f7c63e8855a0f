"""What Griffe does to docstrings before the reference is made of them: examples become code."""

import re
from typing import Any

import griffe

# From a prompt to the next empty line, at one indent or deeper.
_EXAMPLES = re.compile(r"^( *)>>> .*(?:\n\1.*\S.*)*", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences every run of doctest examples."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Of a module, class, function or attribute that was read."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLES.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)
