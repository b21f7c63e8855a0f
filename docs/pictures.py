"""Make the pictures of graphs and of the explorer that the README shows.

    python docs/pictures.py

The screenshot needs Chromium and its driver.
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image

import gradloom as gl
from gradloom import Value, nn

HERE = Path(__file__).parent
IMAGES = HERE / "images"
sys.path.insert(0, str(HERE.parent / "tests"))

from view.browser import started  # noqa: E402 - the tests' own browser

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
        page.size(1200, 620)
        page.open(file)
        page.press(*["ARROW_RIGHT"] * 9)
        page.click("[data-key=n0]")
        shot = Path(folder) / "shot.png"
        page.screenshot(shot)
        small(shot, IMAGES / "explorer.png")


def small(picture: Path, path: Path) -> None:
    """Keep a picture in few colours."""
    Image.open(picture).convert("RGB").quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
