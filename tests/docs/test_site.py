"""The site of docs/ in a browser: it is searched and read, and asks nothing of other hosts."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from view.browser import Page

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "docs/lessons").glob("[0-9]*.md"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """The address of the site, served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def search(page: Page, word: str) -> None:
    page.click("input.md-search__input")
    page.find("input.md-search__input").send_keys(word)
    page.wait("return document.querySelectorAll('.md-search-result__item').length > 0")


@pytest.mark.slow
def test_a_site_that_is_opened_from_its_folder_is_searched_too(folder: Path, page: Page) -> None:
    page.open(folder / "lessons/index.html")
    search(page, "topological")
    assert page.errors() == []
    assert all(address.startswith(folder.as_uri()) for address in page.requests())


@pytest.mark.slow
def test_the_site_is_searched_and_read_without_errors_or_other_hosts(site: str, page: Page) -> None:
    page.open(f"{site}/index.html")
    search(page, "topological")
    for path in ["lessons/04-why-the-topological-order.html", "reference/value.html"]:
        page.open(f"{site}/{path}")
        page.wait("return document.readyState === 'complete'")
    assert page.errors() == []
    assert [address for address in page.requests() if not address.startswith(site)] == []


@pytest.mark.slow
def test_what_is_copied_is_code_without_prompts_and_results(site: str, page: Page) -> None:
    page.open(f"{site}/index.html")
    page.driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": site},
    )
    page.click(".highlight .md-code__button, .highlight button")
    page.wait("return document.querySelector('.md-dialog--active') !== null")  # it says: copied
    copied = page.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    assert copied.startswith("import gradloom as gl\nfrom gradloom import Value\n")
    assert copied.rstrip().endswith("c.data, a.grad, b.grad")


@pytest.mark.slow
def test_every_explorer_of_the_lessons_plays_in_its_page(site: str, page: Page) -> None:
    for path in LESSONS:
        page.open(f"{site}/lessons/{path.stem}.html")
        page.run("document.querySelector('.explorer iframe').scrollIntoView()")
        page.driver.switch_to.frame(page.find(".explorer iframe"))
        page.wait("return document.querySelectorAll('svg [data-key]').length > 1")
        page.driver.switch_to.default_content()
    assert page.errors() == []
    assert [address for address in page.requests() if not address.startswith(site)] == []
