"""The command `gradloom`: train on a table, predict, evaluate, show, play.

A thin skin over `gradloom.train`: options become settings, results become tables and pictures.
Whatever a user can get wrong ends in one line on standard error and exit code 2.
"""

import csv
import io
import os
import sys
import webbrowser
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from gradloom.errors import (
    ArgumentError,
    DataError,
    GradloomError,
    MissingExtraError,
    RunFolderError,
)
from gradloom.train.extras import extra
from gradloom.train.files import cannot_write, write_whole
from gradloom.train.settings import Settings

try:
    with extra():
        import typer
        from rich.console import Console
        from rich.table import Table
except MissingExtraError as missing:
    print(f"error: {missing}", file=sys.stderr)
    raise SystemExit(2) from None
except KeyboardInterrupt:  # Ctrl-C before the command has begun
    raise SystemExit(130) from None

if TYPE_CHECKING:
    import pandas as pd

    from gradloom.train.experiment import Experiment
    from gradloom.train.run import Run
    from gradloom.train.scores import Scores

# The class of all errors in the use of the command: click's, or typer's copy of it, by version.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


class _OneLineErrors(typer.core.TyperGroup):
    """Says what went wrong in one line on standard error, and exits with code 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            code = super().main(*args, **options | {"standalone_mode": False})
            sys.stdout.flush()
        except GradloomError as error:
            message = "; ".join([str(error), *getattr(error, "__notes__", [])])
        except _UsageError as error:
            where = getattr(error, "ctx", None)
            path = where.command_path if where else "gradloom"
            message = f"{error.format_message().rstrip('.')} (see {path} --help)"  # type: ignore[attr-defined]
        except OSError as error:  # a full disk behind a redirection
            message = str(cannot_write(Path("the output"), error))
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # and no more of it
        except (typer.Abort, KeyboardInterrupt):
            raise SystemExit(130) from None
        else:
            raise SystemExit(code)
        print(f"error: {_shown(' '.join(message.split()))}", file=sys.stderr)
        raise SystemExit(2)


app = typer.Typer(name="gradloom", cls=_OneLineErrors, rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def _welcome(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Train small networks on tables, predict with them, and look at what they learned."""
    if version:
        print(metadata.version("gradloom"))
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


_RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that training left.")]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .parquet file.")]


def _option(panel: str, text: str, *names: str, **options: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **options)


def _data(text: str, **options: Any) -> Any:
    return _option("What to train on", text, **options)


def _how(text: str, *names: str) -> Any:
    return _option("How to train", text, *names)


def _kept(text: str, default: str | bool) -> Any:
    return _option("Where to keep it", text, metavar="RUN", show_default=default)


@app.command()
def train(
    *,
    ctx: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="iris, wine, breast-cancer, digits, diabetes, moons, circles, or a .csv or "
            ".parquet file.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None, _data("The column to predict.", show_default="the last")
    ] = Settings.target,
    task: Annotated[str, _data("auto, classification or regression.")] = Settings.task,
    test_size: Annotated[float, _data("Share of the rows to score on.")] = Settings.test_size,
    validation_size: Annotated[
        float, _data("Share of the rows to stop by.")
    ] = Settings.validation_size,
    hidden: Annotated[str, _how("Sizes of the hidden layers, or none.")] = Settings.hidden,
    activation: Annotated[
        str, _how("How hidden neurons respond: tanh, relu, …")
    ] = Settings.activation,
    loss: Annotated[str, _how("auto, cross_entropy, hinge, mse, …")] = Settings.loss,
    optimizer: Annotated[str, _how("sgd, rmsprop, adam or adamw.")] = Settings.optimizer,
    learning_rate: Annotated[float, _how("The learning rate.", "--lr")] = Settings.learning_rate,
    schedule: Annotated[
        str, _how("How the rate changes: constant, step, linear, cosine or warmup.")
    ] = Settings.schedule,
    weight_decay: Annotated[
        float, _how("How strongly the optimizer shrinks the weights.")
    ] = Settings.weight_decay,
    clip_norm: Annotated[
        float | None,
        typer.Option(
            help="Largest norm of the gradient.",
            rich_help_panel="How to train",
            show_default="no limit",
        ),
    ] = Settings.clip_norm,
    epochs: Annotated[int, _how("Times through the training rows.")] = Settings.epochs,
    batch_size: Annotated[int, _how("Rows an update.")] = Settings.batch_size,
    patience: Annotated[
        int, _how("Epochs without improvement after which to stop.")
    ] = Settings.patience,
    seed: Annotated[
        int, _how("Decides the split, the first weights and the order of rows.")
    ] = Settings.seed,
    engine: Annotated[
        str, _how("auto, compiled (a batch at once) or eager (scalar by scalar).")
    ] = Settings.engine,
    out: Annotated[Path | None, _kept("The folder to make.", "runs/DATA-1, -2, …")] = None,
    resume: Annotated[
        Path | None,
        _kept("Go on with a run as it was begun; --epochs and --patience may be new.", False),
    ] = None,
) -> None:
    """Train a network on a table, score it on rows it has not seen, and keep the run.

    Numbers are scaled, categories become 0/1 columns, gaps are filled.
    The network that was best on the validation rows is kept.
    A linear model on the same split shows what the network has to beat.
    """
    with extra():  # the pictures' library too, lest it be missed after a long training
        from gradloom.train.experiment import prepare, reopen, resume_run, train_run
        from gradloom.view import plots  # noqa: F401
    if resume is not None:
        given = {name for name in ctx.params if _was_given(ctx, name)}
        wrong = [
            each.opts[0] if each.param_type_name == "option" else str(each.metavar)
            for each in ctx.command.params
            if each.name in given - {"resume", "epochs", "patience"}
        ]
        if wrong:
            raise ArgumentError(
                f"--resume keeps the settings of the run: leave out {', '.join(wrong)}"
            )
        experiment = reopen(resume, **{name: ctx.params[name] for name in given - {"resume"}})
        _say(experiment.notes)
        run = resume_run(experiment, resume)
    elif source is None:
        raise ArgumentError("name the data to train on, such as iris or table.csv")
    else:
        experiment = prepare(
            Settings(
                source=source,
                target=target,
                task=task,
                hidden=hidden,
                activation=activation,
                loss=loss,
                optimizer=optimizer,
                learning_rate=learning_rate,
                schedule=schedule,
                weight_decay=weight_decay,
                clip_norm=clip_norm,
                epochs=epochs,
                batch_size=batch_size,
                patience=patience,
                test_size=test_size,
                validation_size=validation_size,
                seed=seed,
                engine=engine,
            )
        )
        _say(experiment.notes)
        run = train_run(experiment, out)
    pictures = _draw(run, experiment)
    _print_scores(run)
    print(f"kept in {run.folder}, with {', '.join(pictures)}")
    if run.history.interrupted:
        print(f"interrupted; go on with: gradloom train --resume {run.folder}")
        raise typer.Exit(130)


@app.command()
def predict(
    folder: _RunFolder,
    file: _File,
    out: Annotated[
        Path | None, typer.Option(help="A CSV file to write.", show_default="print")
    ] = None,
) -> None:
    """Predict the target of every row of a table.

    Gives CSV: the prediction, and for classes the probability of each.
    """
    run, frame = _load(folder), _read(file)
    if out is not None and out.exists():
        raise RunFolderError(f"{out} exists already: choose another --out, or remove it first")
    values, probabilities, notes = run.predict(frame)
    _say(notes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if probabilities is None:
        writer.writerows([["prediction"], *([value] for value in values)])
    else:
        writer.writerow(["prediction", *(f"p({name})" for name in run.preprocessing.classes or [])])
        writer.writerows([value, *each] for value, each in zip(values, probabilities, strict=True))
    if out is None:
        print(text.getvalue(), end="")
    else:
        write_whole(out, text.getvalue())
        print(f"{len(values)} predictions written to {out}")


@app.command()
def evaluate(folder: _RunFolder, file: _File) -> None:
    """Score a run on a table that has the target column."""
    run, frame = _load(folder), _read(file)
    scores, notes = run.evaluate(frame)
    _say(notes)
    _print_table([f"{file.name} ({len(frame)} rows)"], [scores])


@app.command()
def show(folder: _RunFolder) -> None:
    """Show a run: its data, settings, network, loss curve, scores and pictures."""
    run = _load(folder)
    with extra():
        from gradloom.view.terminal import loss_text
    data, history = run.config["data"], run.history
    print(f"{_shown(data['name'])}: {data['task']}, predicting {data['target']!r}")
    print(f"rows: {', '.join(f'{part} {count}' for part, count in data['rows'].items())}")
    asked = run.settings.to_json()
    print(f"settings: {', '.join(f'{n}={_shown(str(v))}' for n, v in asked.items())}")
    for note in run.config["notes"]:
        print(f"note: {_shown(note)}")
    print(run.model)
    if history:
        best = history.best()
        monitored = history.monitor.replace("_", " ")
        print(f"{len(history)} epochs: {history.ended}")
        terminal = Console()
        colors = terminal.is_terminal and not terminal.no_color
        curves = "validation (cyan) and training loss" if colors else monitored
        print(f"{curves}; best {best[history.monitor]:.4g} in epoch {best['epoch']}")
        print(loss_text(history, width=max(20, min(terminal.width - 12, 72)), colors=colors))
    _print_scores(run)
    print(f"pictures: {', '.join(str(path) for path in sorted(folder.glob('*.png')))}")


@app.command()
def export(
    *,
    folder: _RunFolder,
    target: Annotated[
        str | None,
        typer.Option(
            help="The machine: host, x86-64, aarch64, cortex-m4, riscv32, wasm32, … (a wrong name "
            "lists all).",
            show_default="host",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="An object (.o), static library (.a) or WebAssembly module (.wasm).",
            show_default="an object in RUN",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The function's name.", show_default="like the data")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
) -> None:
    """Write a run's network as machine code for C, C++ or JavaScript.

    Scaling and categories are included: it takes rows as they stand in the table.
    """
    run = _load(folder)
    with extra("native"):
        from gradloom.train.export import export_run
    files = export_run(run, out, target, name=name, dtype=dtype)
    print(f"written: {', '.join(str(file) for file in files)}")


@app.command()
def draw(
    folder: _RunFolder,
    out: Annotated[
        Path, typer.Argument(metavar="PICTURE", help="An .svg, .png, .pdf or .dot file to write.")
    ],
) -> None:
    """Draw a run's network as a graph of its operations, folded where it is large."""
    run = _load(folder)
    with extra("view"):
        from gradloom.view.draw import draw as drawn
    print(f"drawn to {drawn(run.model).save(out)}")


@app.command()
def explore(
    *,
    folder: _RunFolder,
    file: _File,
    row: Annotated[int, typer.Option(help="Which row of the file, from 1 on.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="An HTML file to write.", show_default="a temporary file")
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Step through the backpropagation of a run's network on one row of a table.

    Leaves a page that works offline. It shows the loss if the file has the target column, else
    what the network gives.
    """
    run, frame = _load(folder), _read(file)
    with extra("view"):
        from gradloom.view.explore import explore as explored
        from gradloom.view.runs import row_value
    value, notes = row_value(run, frame, row)
    _say(notes)
    title = f"{file.name}, row {row}"
    page = explored(value, path=out, open=open_browser, title=title)
    print(f"explorer in {page.path}")


@app.command()
def play(
    *,
    port: Annotated[
        int | None,
        typer.Option(help="Where to listen.", show_default="8737, or one that is free"),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Serve the playground: a page, for this machine alone, that shows a network learn.

    Choose points, layers and rates, and watch the boundary, the neurons and the weights.
    Ctrl-C ends it.
    """
    with extra("view"):
        from gradloom.view import play as playground
    with suppress(KeyboardInterrupt), playground.Playground(port) as running:
        print(f"playground at {running.url} (Ctrl-C ends it)", flush=True)
        if open_browser:
            webbrowser.open(running.url)
        running.wait()


def main() -> None:
    """The console script `gradloom`."""
    app()


def _was_given(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _load(folder: Path) -> "Run":
    with extra():
        from gradloom.train.run import load_run
    return load_run(folder)


def _read(file: Path) -> "pd.DataFrame":
    from gradloom.train.data import read_frame

    return read_frame(file)


def _say(notes: list[str]) -> None:
    for note in notes:
        print(f"note: {_shown(note)}", file=sys.stderr)


def _shown(text: str) -> str:
    """The text with its control characters escaped, lest they command the terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _draw(run: "Run", experiment: "Experiment") -> list[str]:
    """Saves the pictures that suit the run; returns their names."""
    with extra():
        import pandas as pd

        from gradloom.train.preprocess import Numbers, NumberTarget
        from gradloom.view import canvas, histograms, plots
    inputs, target = run.preprocessing.inputs, run.preprocessing.target
    classes = run.preprocessing.classes
    pictures = {"weights.png": histograms.plot_weights(run.model)}
    rows, y = experiment.samples("train")
    try:
        pictures["gradients.png"] = histograms.plot_gradients(
            run.model, rows, y, loss=experiment.loss
        )
    except DataError as error:  # a dead network has none, and is a run all the same
        _say([f"no picture of the gradients: {error}"])
    if run.history:
        pictures["loss.png"] = plots.loss_curve(run.history)
    if classes:
        matrix = run.metrics["network"]["test"]["confusion"]
        pictures["confusion.png"] = plots.confusion_matrix(matrix, classes)
    numbers = [column for column in inputs if isinstance(column, Numbers)]
    if len(numbers) == len(inputs) == 2:
        names = [column.name for column in numbers]

        def say(rows: list[list[float]]) -> Any:
            values, probabilities, _ = run.predict(pd.DataFrame(rows, columns=names))
            return probabilities or values

        test, y = set(experiment.parts["test"]), experiment.targets
        pictures["boundary.png"] = plots.decision_boundary(
            say,
            [[c.decode(v) for c, v in zip(numbers, row, strict=True)] for row in experiment.rows],
            [target.decode(t) for t in y] if isinstance(target, NumberTarget) else y,
            names=names,
            target=_shown(target.name),
            classes=classes,
            test=[i in test for i in range(len(y))],
        )
    for name, figure in pictures.items():
        canvas.save(figure, run.folder / name)
    return list(pictures)


def _print_scores(run: "Run") -> None:
    """The scores on all parts, and those of the linear model on the unseen one."""
    network, linear = run.metrics["network"], run.metrics["linear"]
    _print_table([*network, "test, linear model"], [*network.values(), linear["test"]])


def _print_table(names: list[str], scores: "list[Scores]") -> None:
    """A table of scores: a line each, a column each set of rows; F1 by class where they are few."""
    table = Table("", *map(_shown, names), header_style="bold")
    for name in scores[0]:
        if isinstance(scores[0][name], float):
            figures = [each[name] for each in scores]
            table.add_row(_SCORE_NAMES[name], *(f"{figure:.4g}" for figure in figures))
    if len(scores[0].get("classes", {})) <= 10:
        for name in scores[0].get("classes", {}):
            table.add_row(
                f"F1 of {_shown(name)}", *(f"{each['classes'][name]['f1']:.4g}" for each in scores)
            )
    for column in table.columns[1:]:
        column.justify = "right"
    Console(markup=False, emoji=False).print(table)  # a class may be called [red]


_SCORE_NAMES = {
    "accuracy": "accuracy",
    "f1": "F1, mean of classes",
    "log_loss": "log loss",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}
