"""The browser that the tests of pages look through."""

from pathlib import Path

from view.browser import Page


def test_a_page_is_seen_with_its_errors_and_its_requests(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(
        "<title>t</title><link rel=icon href='data:,'><p id=p>hello</p>"
        "<script>console.error('oops'); fetch('http://example.com/x').catch(() => 0)</script>"
    )
    page.open(file)
    assert page.text("#p") == "hello"
    assert any("oops" in error for error in page.errors())
    assert page.requests() == [file.as_uri(), "http://example.com/x"]


def test_a_quiet_page_has_neither(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<title>t</title><link rel=icon href='data:,'><input id=i value=1>")
    page.open(file)
    page.type("#i", "42")
    assert page.run("return document.querySelector('#i').value") == "42"
    assert page.errors() == []
    assert page.requests() == [file.as_uri()]


def test_a_page_is_shown_dark_and_on_a_phone(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("<meta name=viewport content='width=device-width'><title>t</title>")
    page.theme("dark")
    page.size(390, 844, mobile=True)
    page.open(file)
    assert page.run("return matchMedia('(prefers-color-scheme: dark)').matches") is True
    assert page.run("return innerWidth") == 390
