"""Pages in a real browser: headless Chromium, watched for errors and for requests.

A test that takes the fixture `page` opens a file or an address, clicks and types as a person
would, and asks afterwards what went wrong (`errors`) and what was fetched (`requests`). Where
there is no Chromium with its driver the test is skipped, and the message says so.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    # Whatever the page may ask for, this machine is all that it can reach.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]

_INSIDE = ("data:", "blob:", "chrome:")  # the last is the browser's own new tab


class Page:
    """One tab, empty at first."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._requests: list[str] = []
        self._errors: list[str] = []

    def open(self, address: str | Path) -> None:
        """Load an address, or a file by its path."""
        self.driver.get(address.as_uri() if isinstance(address, Path) else address)

    def run(self, script: str, *arguments: Any) -> Any:
        """What JavaScript returns: `page.run("return 1 + arguments[0]", 2)`."""
        return self.driver.execute_script(script, *arguments)

    def find(self, css: str) -> Any:
        """The first element, waited for a little; Selenium's, with `click()` and `text`."""
        self.wait(f"return document.querySelector({json.dumps(css)}) !== null")
        return self.driver.find_element("css selector", css)

    def count(self, css: str) -> int:
        """How many elements match."""
        return len(self.driver.find_elements("css selector", css))

    def click(self, css: str) -> None:
        """Click the first element that matches."""
        self.find(css).click()

    def text(self, css: str) -> str:
        """What the first element that matches says, as it is shown."""
        return str(self.find(css).text)

    def type(self, css: str, text: str) -> None:
        """Replace what stands in a field, and press Enter."""
        from selenium.webdriver.common.keys import Keys

        self.find(css).send_keys(Keys.CONTROL, "a")
        self.find(css).send_keys(text, Keys.ENTER)

    def press(self, *keys: str) -> None:
        """Press keys one after another, by letter or by name ("ARROW_RIGHT", "TAB", "ENTER")."""
        from selenium.webdriver.common.keys import Keys

        for key in keys:
            self.driver.switch_to.active_element.send_keys(getattr(Keys, key, key))

    def wait(self, script: str, *arguments: Any, seconds: float = 20.0) -> Any:
        """Wait until JavaScript returns something true, and return that."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda _: self.run(script, *arguments), f"never true: {script}"
        )

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Show the page in a window of that many CSS pixels; `mobile` as a phone does."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 0, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def theme(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def screenshot(self, path: Path) -> None:
        """What is seen now, as a PNG file."""
        path.write_bytes(self.driver.get_screenshot_as_png())

    def errors(self) -> list[str]:
        """Everything that the console called an error or a warning, since the page was opened."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self._errors.append(entry["message"])
        return self._errors

    def requests(self) -> list[str]:
        """Every address that was asked for, the page's own first; not what it has inside."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = message["params"]["request"]["url"]
                if not address.startswith(_INSIDE):
                    self._requests.append(address)
            elif message["method"] == "Network.webSocketCreated":
                self._requests.append(message["params"]["url"])
        return self._requests


def _driver(folder: Path) -> Any:
    """Chromium with its driver; it keeps its things in `folder`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={folder / 'chromium'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(chromedriver))


@contextmanager
def started(folder: Path) -> Iterator[Page]:
    """A browser with one page, for scripts."""
    driver = _driver(folder)
    try:
        yield Page(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, started once for all tests of a process."""
    driver = _driver(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture
def page(_browser: Any) -> Iterator[Page]:
    """An empty tab of 1280 by 800 pixels, light."""
    first = _browser.current_window_handle
    _browser.switch_to.new_window("tab")
    found = Page(_browser)
    found.open("about:blank")
    found.size(1280, 800)
    found.theme("light")
    for log in ("browser", "performance"):
        _browser.get_log(log)  # of earlier tests: read, and forgotten
    yield found
    _browser.close()
    _browser.switch_to.window(first)
