"""What the tests of pictures and pages share."""

from view.browser import _browser, page

__all__ = ["_browser", "page"]
