"""The playground's page, driven through a browser as a person would."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("selenium", reason="needs selenium")

from selenium.webdriver.common.action_chains import ActionChains

import gradloom as gl
from gradloom.view.play import Playground
from view.browser import Page

SMALL = "count=60&layers=4&noise=0.05"


@pytest.fixture(scope="module")
def playground():
    with Playground(0) as running:
        yield running


@pytest.fixture
def tab(page: Page, playground):
    """The page, open and drawn; afterwards nothing may have gone wrong."""
    show(page, playground, SMALL)
    yield page
    assert page.errors() == []
    addresses = {f"{kind}://127.0.0.1:{playground.port}/" for kind in ("http", "ws")}
    assert {address[: address.index("/", 7) + 1] for address in page.requests()} <= addresses


def show(page, playground, settings=""):
    page.open("about:blank")
    page.open(f"{playground.url}#{settings}")
    page.wait("return document.querySelectorAll('.neuron canvas').length > 0")
    wanted = settings.partition("layers=")[2].partition("&")[0]
    if wanted:
        sizes = [int(size) for size in wanted.split(",")]
        page.wait(
            "return `${[...document.querySelectorAll('.head output')].map(o => o.textContent)}`"
            " === arguments[0]",
            ",".join(map(str, sizes)),
        )


def wait_for(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def updates(page):
    return int(page.text("#updates"))


def wait_updates(page, comparison):
    page.wait(f"return Number(document.querySelector('#updates').textContent) {comparison}")


def choose(page, css, value):
    page.run(
        "const s = document.querySelector(arguments[0]); s.value = arguments[1];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))",
        css,
        value,
    )


def picture(page):
    """The plane as it is seen."""
    return Image.open(io.BytesIO(page.find("#plane").screenshot_as_png)).convert("RGB")


def color(page, x, y):
    """The colour of the plane at these shares of its sides."""
    seen = picture(page)
    return seen.getpixel((round(x * seen.width), round(y * seen.height)))


def click_plane(page, x, y):
    """Clicks at coordinates of the plane."""
    plane = page.find("#plane")
    page.run("arguments[0].scrollIntoView({block: 'center'})", plane)
    side, edge = plane.size["width"], 1.2
    across, down = round(x / edge * side / 2), round(-y / edge * side / 2)
    ActionChains(page.driver).move_to_element_with_offset(plane, across, down).click().perform()


def test_a_session_from_choosing_data_to_the_exported_model(tab, tmp_path: Path):
    tab.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    tab.run("document.querySelector('input[value=circles]').click()")
    choose(tab, "[data-setting=noise]", "0.02")
    choose(tab, "[data-setting=rate]", "0.03")
    choose(tab, "[data-setting=activation]", "sin")
    tab.click("[aria-label='One neuron more in layer 1']")
    tab.click("#more")
    tab.wait("return document.querySelectorAll('.column').length === 4")
    before = picture(tab).tobytes()
    tab.click("#play")
    tab.wait("return document.querySelector('#training_accuracy').textContent === '100.0 %'")
    tab.click("#play")
    tab.wait("return document.querySelector('#play').textContent.includes('Play')")
    assert picture(tab).tobytes() != before
    inside, outside = color(tab, 0.45, 0.45), color(tab, 0.02, 0.02)
    assert inside[2] > inside[0]  # blue for the disc, the first class
    assert outside[0] > outside[2]
    tab.click("#export")
    file = tmp_path / "gradloom-circles.safetensors"
    wait_for(file.exists)
    assert "gradloom.load_model" in tab.text("#message")
    model = gl.load_model(file)
    assert model.nouts == [5, 5, 1]
    assert model([0.0, 0.0]).data < 0 < model([0.8, 0.0]).data


def test_step_makes_one_update_and_reset_takes_all_back(tab):
    for wanted in (1, 2, 3):
        tab.click("#step")
        wait_updates(tab, f"=== {wanted}")
    tab.click("#reset")
    wait_updates(tab, "=== 0")
    assert tab.text("#epochs") == "0"


def test_pause_holds_the_training_where_it_is(tab):
    tab.click("#play")
    wait_updates(tab, "> 5")
    assert tab.text("#play") == "Pause"
    tab.click("#play")
    tab.wait("return document.querySelector('#play').textContent.includes('Play')")
    held = updates(tab)
    tab.click("#step")
    wait_updates(tab, f"=== {held + 1}")


def test_the_keyboard_plays_steps_resets_and_puts_points(tab):
    tab.press("s")
    wait_updates(tab, "=== 1")
    tab.press("r")
    wait_updates(tab, "=== 0")
    tab.press(" ")
    wait_updates(tab, "> 2")
    tab.press(" ")
    tab.wait("return document.querySelector('#play').textContent.includes('Play')")
    tab.run("document.querySelector('#clear').click(); document.querySelector('#plane').focus()")
    tab.wait("return location.hash.includes('data=own')")
    tab.press("ARROW_RIGHT", "ARROW_UP", "ENTER")
    tab.wait("return location.hash.includes('points=0.048,0.048,0')")
    tab.press("DELETE")
    tab.wait("return !location.hash.includes('points')")


def test_every_control_is_reached_by_tab_and_has_a_name(tab):
    names = tab.run(
        "return [...document.querySelectorAll('button, input, select, canvas[tabindex]')]"
        ".filter(e => e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim()"
        " || e.labels?.[0]?.textContent.trim())).map(e => e.outerHTML)"
    )
    assert names == []
    seen = set()
    for _ in range(40):
        tab.press("TAB")
        seen.add(tab.run("return document.activeElement.id"))
    assert {"play", "step", "reset", "speed", "share", "export", "seed", "plane"} <= seen


def test_points_are_clicked_in_learned_and_erased(tab):
    tab.click("#clear")
    tab.wait("return location.hash.includes('data=own')")
    click_plane(tab, -0.6, 0.0)
    tab.wait("return location.hash.includes('points=')")
    tab.run("document.querySelectorAll('#brush input')[2].click()")
    click_plane(tab, 0.6, 0.5)
    tab.wait("return location.hash.split('_').length === 2")
    assert tab.count(".column:last-child .neuron") == 3
    tab.click("#play")
    tab.wait("return document.querySelector('#training_accuracy').textContent === '100.0 %'")
    tab.click("#play")
    tab.run("document.querySelector('#brush input[value=erase]').click()")
    click_plane(tab, 0.6, 0.5)
    tab.wait("return location.hash.split('_').length === 1")
    tab.wait("return document.querySelectorAll('.column:last-child .neuron').length === 1")


def test_a_neuron_that_is_pointed_at_tells_its_numbers_and_fills_the_plane(tab):
    before = picture(tab).tobytes()
    ActionChains(tab.driver).move_to_element(tab.find(".column:nth-of-type(2) .neuron")).perform()
    assert tab.text("#detail").startswith("neuron 1.1: bias ")
    wait_for(lambda: picture(tab).tobytes() != before)
    ActionChains(tab.driver).move_to_element(tab.find("h1")).perform()
    assert tab.text("#detail").startswith("Point at")


def test_a_connection_that_is_pointed_at_tells_its_weight(tab):
    tab.run("document.querySelector('#network path').dispatchEvent(new Event('pointerenter'))")
    assert tab.text("#detail").startswith("Weight from x to neuron 1.1: ")


def test_changes_that_come_faster_than_answers_all_count(tab):
    tab.run(
        "const click = (css) => document.querySelector(css).click();"
        "for (let i = 0; i < 3; i++) { click('#more'); click('[aria-label^=\"One neuron more\"]') }"
        "document.querySelector('input[value=blobs]').click()"
    )
    tab.wait("return location.hash.includes('data=blobs')")
    assert "layers=7,4,4,4" in tab.run("return location.hash")
    assert tab.count(".column") == 6


def test_the_address_holds_the_settings(tab, playground):
    tab.run("document.querySelector('input[value=xor]').click()")
    choose(tab, "[data-setting=rate]", "0.1")
    choose(tab, "[data-setting=penalty]", "l2")
    tab.click("#more")
    tab.wait("return location.hash.includes('layers=4,4')")
    address = tab.run("return location.href")
    for part in ("data=xor", "rate=0.1", "penalty=l2", "count=60"):
        assert part in address
    settings = address.partition("#")[2]
    show(tab, playground, settings)
    tab.wait("return document.querySelector('input[value=xor]').checked")
    assert tab.run("return document.querySelector('[data-setting=rate]').value") == "0.1"
    assert tab.run("return location.href") == address
    tab.click("#share")
    tab.wait("return document.querySelector('#message').textContent.includes('address')")


def test_an_address_with_nonsense_says_so_and_the_page_works(page, playground):
    page.open(f"{playground.url}#layers=99&foo=1")
    page.wait("return !document.querySelector('#message').hidden")
    assert "foo" in page.text("#message") or "neurons" in page.text("#message")
    page.click("#step")
    wait_updates(page, "=== 1")


def test_two_pages_train_apart(tab, playground):
    first = tab.driver.current_window_handle
    tab.click("#play")
    tab.driver.switch_to.new_window("tab")
    other = Page(tab.driver)
    try:
        show(other, playground, "data=blobs&count=60&layers=3")
        assert updates(other) == 0
        other.click("#step")
        wait_updates(other, "=== 1")
        assert other.count(".column:last-child .neuron") == 3
    finally:
        tab.driver.close()
        tab.driver.switch_to.window(first)
    seen = updates(tab)
    wait_updates(tab, f"> {seen}")
    assert tab.count(".column:last-child .neuron") == 1


def test_trouble_is_told_on_the_page(tab):
    tab.click("#clear")
    tab.wait("return location.hash.includes('data=own')")
    tab.click("#play")
    tab.wait("return !document.querySelector('#message').hidden")
    assert "There is no point to learn from" in tab.text("#message")
    assert tab.text("#play") == "Play"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_nothing_sticks_out_at_any_width(tab, width, theme):
    tab.theme(theme)
    tab.size(width, 844, mobile=width < 800)
    assert tab.run("return document.documentElement.scrollWidth") == width
    ground = tab.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(241, 245, 249)", "dark": "rgb(15, 23, 42)"}[theme]


def test_a_stopped_playground_is_told_and_found_again(page):
    with Playground(0) as running:
        port = running.port
        show(page, running, SMALL)
        assert page.errors() == []
    page.wait("return document.querySelector('#message').textContent.includes('has stopped')")
    with Playground(port):
        page.click("#again")
        page.wait("return document.querySelector('#message').hidden")
        page.click("#step")
        wait_updates(page, "=== 1")
        assert "layers=4" in page.run("return location.hash")
