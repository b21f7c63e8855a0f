"""The pages of docs/: what they say runs, here and as notebooks."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
LESSONS = sorted((DOCS / "lessons").glob("[0-9]*.md"))
PAGES = sorted(set(DOCS.rglob("*.md")) - set((DOCS / "reference").iterdir()))


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pages"] = module
    spec.loader.exec_module(module)
    return module


pages = _load()


def written(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_example_exercise_and_solution_of_a_page_does_what_it_says(path: Path) -> None:
    pytest.importorskip("matplotlib")
    pages.run(path)


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_has_an_explorer_of_moderate_size_and_exercises(path: Path) -> None:
    kinds = [block.kind for block in pages.blocks(path.read_text(encoding="utf-8"))]
    assert kinds.count("exercise") == kinds.count("solution") >= 2
    explorers = [shown.content for shown in pages.run(path) if shown.kind == "html"]
    assert explorers
    assert max(map(len, explorers)) < 300_000


def test_a_wrong_result_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "# Page\n\n```python\n>>> 1 + 1\n3\n\n```\n")
    with pytest.raises(pages.PageError, match=r"(?s)line 4.*Expected:\s+3\nGot:\s+2"):
        pages.run(path)


def test_an_exercise_needs_a_solution_that_passes_and_a_check_that_fails_without(
    tmp_path: Path,
) -> None:
    exercise = "```python exercise\nx = ...\n\n# check\nassert x == 1\n```\n"
    solution = "```python solution\nx = {}\n```\n"
    pages.run(written(tmp_path, exercise + solution.format(1)))
    with pytest.raises(pages.PageError, match="AssertionError"):
        pages.run(written(tmp_path, exercise + solution.format(2)))
    with pytest.raises(pages.PageError, match="without a solution"):
        pages.run(written(tmp_path, exercise))
    with pytest.raises(pages.PageError, match="passes its check untouched"):
        pages.run(written(tmp_path, exercise.replace("...", "1") + solution.format(1)))


def test_a_notebook_has_the_code_of_its_page_without_prompts_and_solutions_in_the_prose(
    tmp_path: Path,
) -> None:
    pytest.importorskip("nbformat")
    text = (
        "# Page\n\n```python\n>>> x = 2\n>>> x + 1\n3\n>>> x\n2\n\n```\n"
        "```python exercise\ny = ...\n\n# check\nassert y == 1\n```\n"
        "<details>\n\n```python solution\ny = 1\n```\n\n</details>\n"
    )
    cells = pages.notebook(written(tmp_path, text)).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "code", "code", "markdown"]
    assert [cell.source for cell in cells[1:3]] == ["x = 2\nx + 1", "x"]
    assert cells[3].metadata.tags == ["raises-exception"]
    assert "y = 1" in cells[4].source


@pytest.mark.slow
@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_runs_as_a_notebook(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    book = pages.notebook(path)
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    cells = book.cells
    for cell in (cell for cell in cells if cell.cell_type == "code"):
        failed = [out.ename for out in cell.outputs if out.output_type == "error"]
        assert bool(failed) == ("raises-exception" in cell.metadata.get("tags", [])), cell.source
