"""The browser that looks at the site."""

from view.browser import _browser, page

__all__ = ["_browser", "page"]
