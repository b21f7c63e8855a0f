import io
import math
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import gradloom as gl
from gradloom import nn
from gradloom.errors import ArgumentError, DataError, RunFolderError, ShapeError
from gradloom.train import History
from gradloom.view.canvas import save
from gradloom.view.plots import (
    confusion_matrix,
    decision_boundary,
    history_curves,
    loss_curve,
    plot_decision,
)

RECORDS = [
    {"epoch": e, "loss": 1 / e, "validation_loss": 1 / e + (e - 4) ** 2 / 50} for e in range(1, 9)
]


def pixels(figure: Figure) -> np.ndarray:
    """The drawn picture, height by width by RGB."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return np.array(Image.open(picture).convert("RGB"))


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_the_loss_curve_shows_both_losses_and_marks_the_best_epoch():
    figure = loss_curve(History(RECORDS))
    drawn = lines(figure)
    best = min(RECORDS, key=lambda record: record["validation_loss"])
    assert drawn["training"].get_ydata().tolist() == [record["loss"] for record in RECORDS]
    assert drawn["validation"].get_ydata().tolist() == [r["validation_loss"] for r in RECORDS]
    label = f"best: {best['validation_loss']:.3g} in epoch {best['epoch']}"
    assert drawn[label].get_xdata() == [best["epoch"]]
    assert pixels(figure).shape[2] == 3


def test_the_loss_curve_does_without_validation():
    assert set(lines(loss_curve(History([{"epoch": 1, "loss": 0.5}])))) == {
        "training", "best: 0.5 in epoch 1",
    }  # fmt: skip


def test_a_single_epoch_is_seen():
    figure = loss_curve(History([{"epoch": 1, "loss": 0.5, "validation_loss": 0.25}]))
    assert {line.get_marker() for line in figure.axes[0].lines} == {"o"}
    assert [tick for tick in figure.axes[0].get_xticks() if tick % 1] == []


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([1.0, 0.1], "log"), ([1.0, 0.9], "linear"), ([1.0, 0.0], "linear"), ([1.0, -1.0], "linear")],
)
def test_the_loss_curve_is_logarithmic_where_that_helps(losses, scale):
    history = History([{"epoch": e, "loss": loss} for e, loss in enumerate(losses, 1)])
    assert loss_curve(history).axes[0].get_yscale() == scale


def test_an_empty_history_has_no_curve():
    with pytest.raises(ArgumentError, match="no epoch was finished"):
        loss_curve(History())


def halves(rows):
    """Class 1 to the right of 0, sharply."""
    right = [1 / (1 + math.exp(-50 * row[0])) for row in rows]
    return [[1 - p, p] for p in right]


def test_the_boundary_separates_the_colours_of_the_classes():
    x, y = [[-1.0, 0.0], [1.0, 0.0]], [0, 1]
    figure = decision_boundary(halves, x, y, classes=["left", "right"], names=("width", "height"))
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["left", "right"]
    painted = axes.images[0].get_array()
    assert painted[0, 0].tolist() != painted[0, -1].tolist()
    (edge,) = {
        round(float(v), 1) for path in axes.collections[0].get_paths() for v in path.vertices[:, 0]
    }
    assert edge == 0.0
    assert len(np.unique(pixels(figure).reshape(-1, 3), axis=0)) > 10


def test_test_samples_get_a_rim_and_a_word_in_the_legend():
    x, y = [[-1.0, 0.0], [1.0, 0.0]], [0, 1]
    figure = decision_boundary(halves, x, y, classes=["l", "r"], test=[False, True], resolution=5)
    assert figure.axes[0].get_legend().get_texts()[-1].get_text() == "test"
    offsets = [points.get_offsets().tolist() for points in figure.axes[0].collections[-2:]]
    assert offsets == [[[-1.0, 0.0]], [[1.0, 0.0]]]


def test_more_classes_than_hand_picked_colours_are_drawn():
    count = 12

    def predict(rows):
        return np.eye(count)[np.arange(len(rows)) % count].tolist()

    x = [[float(i), float(i % 3)] for i in range(count)]
    names = [f"class {i}" for i in range(count)]
    figure = decision_boundary(predict, x, range(count), classes=names, resolution=10)
    assert pixels(figure).size


def test_numbers_are_drawn_as_a_surface_with_a_scale():
    def slope(rows):
        return [row[0] + row[1] for row in rows]

    figure = decision_boundary(slope, [[0.0, 0.0], [1.0, 1.0]], [0.0, 2.0], resolution=6)
    assert len(figure.axes) == 2  # the plane and its colour scale
    assert pixels(figure).size


def test_the_scale_of_a_surface_has_round_numbers_and_a_name():
    x, y = [[0.13, 0.0], [9.7, 1.1]], [0.0, 9.0]
    figure = decision_boundary(lambda rows: [sum(row) for row in rows], x, y, target="price, $")
    assert figure.axes[1].get_ylabel() == r"price, \$"
    ticks = figure.axes[1].get_yticks()
    assert len(ticks) > 3
    assert np.allclose(ticks * 2, np.round(ticks * 2))


def test_a_constant_surface_and_a_single_point_are_drawn():
    figure = decision_boundary(lambda rows: [1.0 for _ in rows], [[2.0, 2.0]], [1.0], resolution=4)
    assert pixels(figure).size


@pytest.mark.parametrize("x", [[], [[1.0]], [[1.0, 2.0, 3.0]]])
def test_a_boundary_needs_two_numbers_a_row(x):
    with pytest.raises(DataError, match="rows of two numbers"):
        decision_boundary(halves, x, [0] * len(x))


def test_the_confusion_matrix_shows_counts_and_names():
    figure = confusion_matrix([[9, 1], [0, 10]], ["blue", "a very long name of a class"])
    axes = figure.axes[0]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "10", "9"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["blue", "a very long nam…"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert pixels(figure).size


NAMES = ["$x_{$", "_hidden", "a\nb\x1b[31m", "日本語"]


def test_names_are_drawn_letter_by_letter(tmp_path):
    matrix = confusion_matrix(np.eye(4, dtype=int).tolist(), NAMES)
    x = [[float(i), float(i % 2)] for i in range(4)]
    plane = decision_boundary(
        lambda rows: [[0.25] * 4 for _ in rows], x, range(4), classes=NAMES, names=NAMES[:2]
    )
    for figure in (matrix, plane):
        save(figure, tmp_path / "picture.png")  # no TeX error, no warning of a missing letter
    shown = [r"\$x_{\$", " _hidden", "a b [31m", "日本語"]
    assert [text.get_text() for text in plane.axes[0].get_legend().get_texts()] == shown
    assert plane.axes[0].get_xlabel() == shown[0]


def test_a_class_without_rows_is_drawn_empty():
    assert pixels(confusion_matrix([[0, 0], [3, 4]], ["a", "b"])).size


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(DataError, match="of 2 classes needs 2 rows and columns"):
        confusion_matrix([[1, 2, 3], [4, 5, 6]], ["a", "b"])


def test_a_picture_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    figure = loss_curve(History(RECORDS))
    save(figure, tmp_path / "loss.png")
    before = (tmp_path / "loss.png").read_bytes()
    assert before.startswith(b"\x89PNG")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunFolderError, match="the disk is full"):
        save(figure, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes() == before


def test_a_figure_is_saved_in_the_format_of_its_ending_or_refused(tmp_path):
    figure = loss_curve(History(RECORDS))
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for format, magic in begins.items():
        save(figure, tmp_path / f"loss.{format}")
        assert (tmp_path / f"loss.{format}").read_bytes().startswith(magic)
    with pytest.raises(ArgumentError, match=r"saved as \.png, \.svg or \.pdf"):
        save(figure, tmp_path / "loss.doc")
    assert len(list(tmp_path.iterdir())) == 3


# The curves of a history

METERED = [
    {"epoch": e, "loss": 1 / e, "accuracy": 1 - 1 / (e + 1), "validation_loss": 2 / e,
     "validation_accuracy": 0.5, "learning_rate": 0.1, "gradient_norm": 10.0**-e, "seconds": 0.1}
    for e in (1, 2, 3, 4)
]  # fmt: skip


def test_a_history_plots_its_loss_and_its_metrics_one_below_the_other():
    figure = History(METERED).plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy"]
    for axes, column in zip(figure.axes, ("loss", "accuracy"), strict=True):
        training, validation, best = axes.lines
        assert training.get_ydata().tolist() == [record[column] for record in METERED]
        assert validation.get_ydata().tolist() == [r[f"validation_{column}"] for r in METERED]
        assert best.get_xdata() == [4]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[1].get_yscale() == "linear"
    assert figure.axes[-1].get_xlabel() == "epoch"


def test_a_history_plots_the_columns_that_are_asked_for():
    figure = History(METERED).plot("gradient_norm", "loss")
    assert [axes.get_ylabel() for axes in figure.axes] == ["gradient norm", "loss"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [r["gradient_norm"] for r in METERED]


@pytest.mark.parametrize(
    ("columns", "message"), [(["lost"], "did you mean 'loss'"), ([], "name at least one")]
)
def test_a_history_without_that_column_says_so(columns, message):
    with pytest.raises(ArgumentError, match=message):
        history_curves(History(METERED), columns)


def test_pictures_leave_the_state_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    pixels(History(METERED).plot())
    from matplotlib import pyplot

    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_a_notebook_shows_a_figure_in_its_size_on_paper():
    picture, size = History(METERED).plot()._repr_png_()
    drawn = Image.open(io.BytesIO(picture))
    assert drawn.width / size["width"] == drawn.height / size["height"] == 1.5


# Decisions of a model


def trained(loss, targets, outputs=1):
    """A model that tells left from right, with rows and targets."""
    rows = [[x / 4, y / 4] for x in range(-4, 5) if x for y in range(-2, 3)]
    y = [targets[row[0] > 0] for row in rows]
    model = nn.MLP(2, [outputs], seed=1)
    gl.fit(model, rows, y, loss=loss, epochs=60, learning_rate=0.1, progress="silent")
    return model, rows, y


@pytest.mark.parametrize(
    ("loss", "given", "targets", "outputs", "classes"),
    [
        ("cross_entropy", "auto", [0, 1], 2, ["0", "1"]),
        ("cross_entropy", "auto", [0, 1], 3, ["0", "1", "2"]),
        ("binary_cross_entropy", "binary_cross_entropy", [0, 1], 1, ["0", "1"]),
        ("hinge", "auto", [-1, 1], 1, ["-1", "1"]),
        ("hinge", "hinge", [-1.0, 1.0], 1, ["-1", "1"]),
    ],
)
def test_a_model_of_classes_is_drawn_with_the_line_where_they_meet(
    loss, given, targets, outputs, classes
):
    model, rows, y = trained(loss, targets, outputs)
    axes = plot_decision(model, rows, y, loss=given, resolution=41).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == classes
    meeting = np.concatenate([path.vertices for path in axes.collections[0].get_paths()])
    assert np.abs(meeting[:, 0]).max() < 0.25


def test_a_model_of_numbers_is_drawn_as_a_surface_of_its_outputs():
    model, rows, y = trained("mse", [0.0, 5.0])
    figure = plot_decision(model, rows, y, names=("width", "height"))
    assert figure.axes[0].get_xlabel() == "width"
    assert len(figure.axes) == 2
    low, high = figure.axes[1].get_ylim()
    assert low < 0
    assert high > 5


def test_a_decision_draws_arrays_and_leaves_the_model_alone():
    model, rows, y = trained("mse", [0, 1])
    before = model.state(), [p.grad for p in model.parameters()]
    plot_decision(model, np.array(rows), np.array(y), resolution=5)
    assert (model.state(), [p.grad for p in model.parameters()]) == before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "msee"}, ArgumentError, "did you mean 'mse'"),
        ({"resolution": 1}, ArgumentError, "resolution is a whole number of at least 2"),
        ({"loss": "cross_entropy", "y": [0.5] * 40}, DataError, "a target is 0.5"),
        ({"loss": "cross_entropy", "classes": ["a"]}, DataError, "1 names of classes"),
        ({"y": [[1.0, 2.0]] * 40}, DataError, "a model of one output"),
        ({"y": [1.0]}, DataError, "40 rows but y has 1"),
        ({"model": nn.MLP(3, [1])}, ShapeError, "takes 3 inputs, got 2"),
    ],
)
def test_a_decision_that_cannot_be_drawn_is_refused(options, error, message):
    rows = [[i / 10, -i / 10] for i in range(40)]
    given = {"model": nn.MLP(2, [1], seed=1), "x": rows, "y": [0, 1] * 20} | options
    with pytest.raises(error, match=message):
        plot_decision(given.pop("model"), given.pop("x"), given.pop("y"), **given)


@pytest.mark.parametrize(
    "call",
    ["gl.plot_decision", "gl.plot_weights", "gl.History([{'epoch': 1, 'loss': 1.0}]).plot()"],
)
def test_without_matplotlib_a_plot_says_what_to_install(call):
    code = (
        "import sys; sys.modules['matplotlib'] = None; import gradloom as gl\n"
        f"try: {call}\nexcept gl.GradloomError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "matplotlib" in done.stdout
    assert done.stdout.endswith("is not installed: pip install 'gradloom[train]'\n")
