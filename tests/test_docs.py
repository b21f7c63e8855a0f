"""What README and CONTRIBUTING promise is so: examples run, commands and files exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXTS = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))]
MAP = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def shell_lines(text: str = README) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line]


def test_every_example_in_the_readme_runs() -> None:
    results = doctest.testfile(
        str(ROOT / "README.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert results.attempted > 10
    assert results.failed == 0


def test_the_readme_begins_with_the_two_commands_and_the_ci_calls_them() -> None:
    assert shell_lines()[:2] == ["make train", "make test"]
    steps = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
    assert {"make train", "make test"} <= set(steps)


@pytest.mark.parametrize("target", re.findall(r"`?make (\w+)", README + MAP))
def test_every_make_target_that_is_named_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    sorted({line for text in TEXTS for line in shell_lines(text) if line.startswith("gradloom")}),
)
def test_every_command_line_of_gradloom_parses(line: str) -> None:
    typer = pytest.importorskip("typer")
    from gradloom.cli import app

    _, command, *arguments = shlex.split(line)
    group = typer.main.get_command(app)
    # Parsing alone: it raises for an unknown option, and trains nothing.
    assert group.commands[command].make_context(command, arguments).params


@pytest.mark.parametrize("image", re.findall(r'src="([^"]+)"', README))
def test_every_picture_in_the_readme_exists(image: str) -> None:
    assert (ROOT / image).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", re.findall(r"^ {4,}\s*([\w/]+\.py)\b", MAP, re.MULTILINE))
def test_every_module_on_the_map_exists(name: str) -> None:
    assert list((ROOT / "src/gradloom").rglob(name))
