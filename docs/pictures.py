"""Make the pictures that the README shows: graphs, the explorer, the playground, plots.

    python docs/pictures.py

The screenshots need Chromium and its driver.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import gradloom as gl
from gradloom import Value, nn
from gradloom.train.data import load_table
from gradloom.view.canvas import save
from gradloom.view.play import Playground

HERE = Path(__file__).parent
IMAGES = HERE / "images"
sys.path.insert(0, str(HERE.parent / "tests"))

from view.browser import Page, started  # noqa: E402 - the tests' own browser

# Boxes are drawn for modules that are alive.
NEURON = nn.Neuron(2, "tanh", seed=3)
MODEL = nn.MLP(2, [16, 16, 1], "relu", seed=0)


def neuron() -> Value:
    """One neuron, after a backward pass."""
    x = [Value(2.0, label="x0"), Value(-1.0, label="x1")]
    y = NEURON(x)
    y.label = "y"
    y.backward()
    return y


def moons() -> Value:
    """The loss of micrograd's demo: about eleven thousand nodes."""
    xs = [[Value(i / 50), Value((i * i % 7) / 7)] for i in range(100)]
    ys = [1 if x[0].data ** 2 > x[1].data else -1 for x in xs]
    losses = [(1.0 - y * MODEL(x)).relu() for x, y in zip(xs, ys, strict=True)]
    loss = sum(losses) / len(losses) + 1e-4 * sum(p * p for p in MODEL.parameters())
    loss.backward()
    return loss


def f(a: Value, b: Value) -> Value:
    """A result that is reached by two paths."""
    c = a * b
    d = c + a**2
    return d.tanh() * c


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as page:
        file = gl.explore(f, 0.8, -0.5, path=Path(folder) / "f.html", open=False).path
        for name, value in (("graph-neuron", neuron()), ("graph-moons", moons())):
            small(gl.draw(value).save(Path(folder) / f"{name}.png"), IMAGES / f"{name}.png")
        page.size(1200, 680)
        page.open(file)
        page.press(*["ARROW_RIGHT"] * 9)
        page.click("[data-key=n0]")
        shot = Path(folder) / "shot.png"
        page.screenshot(shot)
        small(shot, IMAGES / "explorer.png")
        with Playground(0) as running:
            playground(page, running.url, shot)
    plots()


def playground(page: Page, url: str, shot: Path) -> None:
    """The playground when its network has learned the spirals, light and dark."""
    page.size(1280, 830)
    for theme in ("light", "dark"):
        page.theme(theme)
        page.open("about:blank")
        page.open(f"{url}#data=spirals&noise=0.03&layers=8,8&rate=0.01&speed=fast")
        page.click("#play")
        epochs = "return Number(document.querySelector('#epochs').textContent)"
        page.wait(f"{epochs} >= 1200", seconds=120)
        page.click("#play")
        page.wait("return !document.querySelector('#play').matches('.playing')")
        page.screenshot(shot)
        small(shot, IMAGES / f"playground-{theme}.png", colors=256)


def plots() -> None:
    """A search for a learning rate, and gradients that vanish from layer to layer."""
    moons = load_table("moons").frame
    x, y = moons[["x", "y"]].to_numpy().tolist(), moons["moon"].tolist()
    shallow = nn.MLP(2, [16, 16, 1], "tanh", seed=1)
    deep = nn.MLP(2, [16] * 6 + [1], "sigmoid", seed=1)
    figures = {
        "learning-rate": gl.find_learning_rate(shallow, x, y, loss="binary_cross_entropy").plot(),
        "vanishing-gradients": gl.plot_gradients(deep, x, y, loss="binary_cross_entropy"),
    }
    for name, figure in figures.items():
        path = IMAGES / f"{name}.png"
        save(figure, path)
        small(path, path, colors=64)


def small(picture: Path, path: Path, colors: int = 128) -> None:
    """Keep a picture in few colours, rare ones among them."""
    method = Image.Quantize.MAXCOVERAGE if colors == 256 else None
    picked = Image.open(picture).convert("RGB").quantize(colors, method, dither=Image.Dither.NONE)
    picked.save(path, optimize=True)


if __name__ == "__main__":
    main()
