"""What MkDocs runs as it builds the site: every page's code, its pictures, explorers, notebooks."""

import html
from pathlib import Path
from typing import Any

import nbformat
import pages
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

_shown: dict[str, list[pages.Shown]] = {}  # by page
_LIMIT = 300_000  # bytes of an explorer


def on_files(files: Any, config: Any) -> Any:
    """Run the pages, and add what they made to the site."""
    for page in files.documentation_pages():
        if page.src_uri.startswith("reference/"):
            continue
        try:
            shown = _shown[page.src_uri] = pages.run(Path(page.abs_src_path))
        except pages.PageError as error:
            raise PluginError(str(error)) from error
        for i, result in enumerate(shown, 1):
            if result.kind == "html":
                if len(result.content) > _LIMIT:
                    raise PluginError(
                        f"{page.src_uri}: explorer {i} is {len(result.content)} bytes"
                    )
                name = f"{_stem(page)}-{i}.html"
                files.append(File.generated(config, name, content=result.content))
        if page.src_uri.startswith("lessons/") and page.name != "index":
            book = nbformat.writes(pages.notebook(Path(page.abs_src_path)))
            files.append(File.generated(config, f"{_stem(page)}.ipynb", content=book))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the results behind the code that made them."""
    if page.file.src_uri not in _shown:
        return markdown

    def embed(result: pages.Shown, i: int) -> str:
        if result.kind != "html":
            return (
                f'<p class="shown"><img alt="what the code above shows" src="{result.address}"></p>'
            )
        name = html.escape(f"{Path(page.file.src_uri).stem}-{i}.html")
        return (
            f'<div class="explorer"><iframe title="explorer" loading="lazy" src="{name}"></iframe>'
            f'<a href="{name}" target="_blank">Open in a page of its own</a></div>'
        )

    found = pages.site_markdown(markdown, _shown[page.file.src_uri], embed)
    if page.file.src_uri.startswith("lessons/") and page.file.name != "index":
        book = Path(page.file.src_uri).with_suffix(".ipynb").name
        found += f"\n---\n\n[This lesson as a notebook]({book}){{ .notebook download }}\n"
    return found


def _stem(page: Any) -> str:
    return page.src_uri.removesuffix(".md")
