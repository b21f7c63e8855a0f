"""The command, as a user meets it: through typer's runner, and a few times as a process."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from gradloom.cli import app
from gradloom.train.run import load_run
from gradloom.train.settings import Settings
from gradloom.view import plots

QUICK = ["--epochs", "3", "--hidden", "3"]
COMMAND = [sys.executable, "-c", "from gradloom.cli import main; main()"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def gradloom(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = gradloom(*arguments)
    assert result.exit_code == 0, result.output
    return result


def fail(*arguments):
    """Runs a command that must fail as all do: exit code 2, one line on standard error."""
    result = gradloom(*arguments)
    assert result.exit_code == 2, result.output
    assert re.fullmatch(r"error: [^\n]+\n", result.stderr)
    assert "Traceback" not in result.output
    return result.stderr


def write(name, *lines):
    Path(name).write_text("".join(f"{line}\n" for line in lines))
    return name


def here(folder="."):
    """The names in a folder."""
    return [path.name for path in Path(folder).iterdir()]


def shop(name="shop.csv", rows=40):
    """A table of numbers and categories, some missing, with a class to predict."""
    colours = ["red", "green", "blue", ""]
    return write(
        name,
        "size,colour,kind",
        *(
            f"{'' if i % 11 == 5 else i % 7},{colours[i % 4]},{['cheap', 'dear'][(i % 7) > 3]}"
            for i in range(rows)
        ),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on the shop."""
    folder = tmp_path_factory.mktemp("cli")
    shop(folder / "shop.csv")
    succeed("train", folder / "shop.csv", *QUICK, "--out", folder / "run")
    return folder / "run"


def test_training_on_a_bundled_set_leaves_a_run_and_tells_the_scores():
    result = succeed("train", "iris", *QUICK)
    for words in ("epoch 3/3", "accuracy", "linear", "validation", "F1 of setosa", "runs/iris-1"):
        assert words in result.stdout
    assert {path.name for path in Path("runs/iris-1").iterdir()} == {
        "config.json", "preprocessing.json", "checkpoint.json", "model.safetensors",
        "history.jsonl", "metrics.json", "loss.png", "confusion.png", "weights.png",
        "gradients.png",
    }  # fmt: skip
    assert len(Path("runs/iris-1/history.jsonl").read_text().splitlines()) == 4


def test_two_numbers_to_learn_from_get_a_boundary():
    succeed("train", "moons", *QUICK)
    assert {path.name for path in Path("runs/moons-1").glob("*.png")} == {
        "loss.png", "confusion.png", "boundary.png", "weights.png", "gradients.png",
    }  # fmt: skip


def test_two_numbers_with_gaps_and_a_number_to_predict_get_a_boundary():
    write(
        "t.csv", "a,b,y", *(f"{i},{'' if i == 5 else i % 7},{i + i % 7 + 0.5}" for i in range(40))
    )
    succeed("train", "t.csv", *QUICK)
    assert Path("runs/t-1/boundary.png").exists()


def test_a_regression_is_told_in_its_own_unit():
    result = succeed("train", "diabetes", *QUICK)
    assert all(words in result.stdout for words in ("R²", "RMSE", "MAE"))
    pictures = {path.name for path in Path("runs/diabetes-1").glob("*.png")}
    assert pictures == {"loss.png", "weights.png", "gradients.png"}


def test_every_option_of_training_reaches_the_run():
    options = {
        "target": "size", "task": "regression", "hidden": "4,2", "activation": "relu",
        "loss": "huber", "optimizer": "rmsprop", "lr": 0.003, "schedule": "cosine", "epochs": 2,
        "batch_size": 7, "patience": 3, "test_size": 0.3, "validation_size": 0.25, "seed": 5,
        "engine": "eager", "weight_decay": 0.02, "clip_norm": 0.5,
    }  # fmt: skip
    lines = Path(shop()).read_text().splitlines()
    write("shop.csv", *(line for line in lines if not line.startswith(",")))
    flags = [
        text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)
    ]
    succeed("train", "shop.csv", *flags, "--out", "run")
    options["learning_rate"] = options.pop("lr")
    assert load_run("run").settings == Settings(source="shop.csv", **options)


def test_both_engines_give_the_same_scores():
    for engine in ("compiled", "eager"):
        succeed("train", shop(), *QUICK, "--engine", engine, "--out", engine)
    scores = [json.loads(Path(f"{e}/metrics.json").read_text()) for e in ("compiled", "eager")]
    for part in ("train", "validation", "test"):
        one, other = (each["network"][part]["log_loss"] for each in scores)
        assert one == pytest.approx(other, rel=1e-9)
    assert "did you mean 'compiled'?" in fail("train", "shop.csv", "--engine", "compield")


def test_a_parquet_file_is_learned_from():
    pd.read_csv(shop()).to_parquet("shop.parquet")
    succeed("train", "shop.parquet", *QUICK)
    assert load_run("runs/shop-1").config["data"]["target"] == "kind"


def test_the_same_seed_gives_the_same_run():
    for _ in range(2):
        succeed("train", shop(), *QUICK)
    metrics = [Path(f"runs/shop-{n}/metrics.json").read_text() for n in (1, 2)]
    assert metrics[0] == metrics[1]


def test_what_was_left_out_of_a_table_is_said():
    write("t.csv", "id,x,y", *(f"name{i},{i},{i % 2}" for i in range(100)))
    result = succeed("train", "t.csv", *QUICK)
    assert "note: column 'id' left out: text with 60 different values" in result.stderr
    assert "note: column 'id' left out" in succeed("show", "runs/t-1").stdout


def test_a_run_is_gone_on_with():
    succeed("train", shop(), *QUICK)
    result = succeed("train", "--resume", "runs/shop-1", "--epochs", "5")
    assert "epoch 4/5" in result.stdout
    assert "epoch 3/5" not in result.stdout
    assert load_run("runs/shop-1").history["epoch"] == [1, 2, 3, 4, 5]


def test_predictions_are_csv_with_probabilities(run):
    lines = succeed("predict", run, shop()).stdout.splitlines()
    assert lines[0] == "prediction,p(cheap),p(dear)"
    assert len(lines) == 41
    for line in lines[1:]:
        name, cheap, dear = line.split(",")
        assert float(cheap) + float(dear) == pytest.approx(1)
        assert name == ("cheap" if float(cheap) > float(dear) else "dear")


def test_predictions_of_numbers_are_numbers():
    write("line.csv", "x,y", *(f"{i},{2.5 * i}" for i in range(40)))
    succeed("train", "line.csv", *QUICK)
    lines = succeed("predict", "runs/line-1", "line.csv").stdout.splitlines()
    assert lines[0] == "prediction"
    assert all(-50 < float(line) < 150 for line in lines[1:])


def test_names_that_look_like_markup_are_printed_as_they_are():
    write("t.csv", "[x],[/y]", *(f"{i},{['[/red]', ':smile:'][i % 2]}" for i in range(40)))
    result = succeed("train", "t.csv", *QUICK)
    assert "F1 of [/red]" in result.stdout
    assert "F1 of :smile:" in result.stdout
    assert "p([/red])" in succeed("predict", "runs/t-1", "t.csv").stdout


def test_control_characters_in_names_do_not_reach_the_terminal():
    names = ["red\x1b[31m", "blue\x07"]
    write("t.csv", "id\x1b[2J,x,y", *(f"n{i},{i},{names[i % 2]}" for i in range(100)))
    results = [succeed("train", "t.csv", *QUICK), succeed("show", "runs/t-1")]
    for result in results:
        assert "F1 of red\\x1b[31m" in result.stdout
        assert not {"\x1b", "\x07"} & set(result.output)
    write("new.csv", "x,y", "1,g\x1b[31mreen")
    assert "\x1b" not in fail("evaluate", "runs/t-1", "new.csv")


def test_dates_are_classes_without_midnight():
    days = pd.to_datetime(["2024-01-01", "2024-01-02"] * 20)
    pd.DataFrame({"x": range(40), "day": days}).to_parquet("t.parquet")
    assert "F1 of 2024-01-02 " in succeed("train", "t.parquet", *QUICK).stdout


def test_the_scale_of_a_boundary_tells_the_target(monkeypatch):
    seen, draw = [], plots.decision_boundary

    def watch(*arguments, **options):
        seen.append(options["target"])
        return draw(*arguments, **options)

    monkeypatch.setattr(plots, "decision_boundary", watch)
    write("t.csv", "a,b,price", *(f"{i},{i % 7},{i + i % 7 + 0.5}" for i in range(40)))
    succeed("train", "t.csv", *QUICK)
    assert seen == ["price"]


def test_predictions_go_to_a_file_that_is_not_overwritten(run):
    assert (
        "40 predictions written to out.csv"
        in succeed("predict", run, shop(), "--out", "out.csv").stdout
    )
    before = Path("out.csv").read_text()
    assert "out.csv exists already" in fail("predict", run, "shop.csv", "--out", "out.csv")
    assert Path("out.csv").read_text() == before


def test_predictions_need_no_target_and_tell_of_unseen_categories(run):
    write("new.csv", "colour,size,extra", "pink,3,x", "red,,y", "pink,1,z")
    result = succeed("predict", run, "new.csv")
    assert result.stderr == (
        "note: column 'colour': 'pink' not seen in training, taken as unknown (2 rows)\n"
    )
    assert len(result.stdout.splitlines()) == 4


def test_evaluation_scores_a_table(run):
    result = succeed("evaluate", run, shop(rows=20))
    assert "shop.csv (20 rows)" in result.stdout
    assert "F1 of dear" in result.stdout


def test_show_tells_all_of_a_run(run):
    out = succeed("show", run).stdout
    for words in (
        "shop: classification, predicting 'kind'", "train 24", "hidden=3", "MLP: 19 parameters",
        "3 epochs: finished all 3 epochs", "validation loss; best ", " ┤", "epoch", "accuracy",
        "loss.png", "weights.png", "gradients.png",
    ):  # fmt: skip
        assert words in out


GOOD = ("a,b,y", *(f"{i},{i * i},{i % 2}" for i in range(12)))
BAD_TABLES = {
    "empty": ((), "is empty: it needs a header line and rows"),
    "no rows": (("a,y",), "has a header but no rows"),
    "short row": ((*GOOD, "1,2"), "line 14: 2 fields where the header has 3: correct or remove"),
    "long row": ((*GOOD, "1,2,3,4"), "line 14: 4 fields where the header has 3"),
    "infinite": ((*GOOD, "inf,1,0"), "column 'a', row 13: 'inf': too large: correct or empty it"),
    "target missing": ((*GOOD, "1,1,"), "the target 'y' has no value in row 13"),
    "target NaN": ((*GOOD, "1,1,NaN"), "the target 'y' has no value in row 13"),
    "target infinite": (("a,y", *(f"1,{i}.5" for i in range(12)), "1,inf"), "column 'y', row 13"),
    "constant target": (("a,y", *(f"{i},2.5" for i in range(12))), "has a single value, '2.5'"),
    "one class": (("a,y", *(f"{i},cat" for i in range(12))), "has a single value, 'cat'"),
    "rare class": ((*GOOD, "1,1,2"), "class '2' of 'y' has 1 of the 3 rows it needs"),
    "no inputs": (("y", "1", "0"), "has no column beside 'y'"),
    "no header": (("1,2,0", "2,3,1"), "its first line must name the columns"),
    "too few rows": (("a,y", "1,0", "2,0", "3,0", "1,1", "2,1", "3,1"), "cannot be split"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_a_bad_table_is_refused_in_one_line_and_no_run_is_left(kind):
    lines, message = BAD_TABLES[kind]
    assert message in fail("train", write("t.csv", *lines), *QUICK)
    assert here() == ["t.csv"]


BAD_ARGUMENTS = {
    "missing file": (["no.csv"], "there is no file no.csv: check the name"),
    "unknown set": (["irsi"], "did you mean 'iris'? (or give a .csv or .parquet file)"),
    "other kind of file": (["."], "give a file that ends in .csv or .parquet"),
    "no data": ([], "name the data to train on"),
    "unknown target": (["iris", "--target", "specis"], "did you mean 'species'"),
    "unknown task": (["iris", "--task", "regresion"], "did you mean 'regression'"),
    "text to regress": (["iris", "--task", "regression"], "'setosa': a number is needed"),
    "hidden": (["iris", "--hidden", "16;8"], "hidden is '16;8': give layer sizes such as 16,16"),
    "activation": (["iris", "--activation", "rellu"], "did you mean"),
    "loss": (["iris", "--loss", "mse"], "loss for several classes"),
    "optimizer": (["iris", "--optimizer", "adan"], "did you mean 'adam'"),
    "schedule": (["iris", "--schedule", "cosin"], "did you mean 'cosine'"),
    "no epochs": (["iris", "--epochs", "0"], "at least 1, got 0"),
    "words for epochs": (["iris", "--epochs", "many"], "Invalid value for '--epochs'"),
    "decay": (["iris", "--weight-decay", "-1"], "weight_decay"),
    "clipping": (["iris", "--clip-norm", "0"], "clip_norm"),
    "rate": (["iris", "--lr", "-1"], "got -1.0"),
    "divergence": (
        ["diabetes", "--lr", "1e200", "--optimizer", "sgd", "--epochs", "3"],
        "diverged in epoch 1",
    ),
    "sizes": (["iris", "--test-size", "1.5"], "test_size"),
    "unknown option": (["iris", "--epoch", "3"], "--epoch"),
    "resume nothing": (["--resume", "runs/no"], "there is no run folder runs/no"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_a_bad_argument_is_refused_in_one_line_and_no_run_is_left(kind):
    arguments, message = BAD_ARGUMENTS[kind]
    assert message in fail("train", *arguments)
    assert not list(Path().glob("runs/*"))


def test_a_run_is_exported_for_the_machine_that_is_named(run):
    out = succeed("export", run, "--target", "cortex-m4", "--out", "shop.a", "--dtype", "float32")
    assert out.stdout == "written: shop.a, shop.h\n"
    assert "int shop(const float *inputs" in Path("shop.h").read_text()
    assert Path("shop.a").read_bytes().startswith(b"!<arch>\n")


def test_an_unknown_machine_is_refused_with_those_that_there_are(run):
    assert "no target is called 'z80'; there are host" in fail("export", run, "--target", "z80")


def test_an_unknown_command_is_refused_in_one_line():
    assert "trian" in fail("trian")
    assert "--nonsense" in fail("--nonsense")


def test_a_run_folder_in_the_way_stays_as_it_is():
    Path("run").mkdir()
    Path("run/mine").write_text("mine")
    assert "run exists already: choose another --out" in fail("train", "iris", "--out", "run")
    assert here("run") == ["mine"]


def test_resuming_keeps_to_the_settings_of_the_run(run):
    message = "--resume keeps the settings of the run: leave out DATA, --hidden, --lr"
    options = ["--hidden", "3", "--lr", "0.1", "--epochs", "9"]
    assert message in fail("train", "iris", "--resume", run, *options)


@pytest.mark.parametrize("first", [1, 4])
def test_a_full_disk_is_said_and_nothing_half_written_stays(monkeypatch, first):
    calls = []
    fsync = os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) >= first:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    message = fail("train", shop(), *QUICK)
    assert "the disk is full: free some space" in message
    assert not list(Path().rglob("*.part"))
    if first == 1:
        assert here("runs") == []
    else:
        assert "go on with: gradloom train --resume runs/shop-1" in message
        monkeypatch.setattr(os, "fsync", fsync)
        succeed("train", "--resume", "runs/shop-1")


def test_a_full_disk_while_predicting_is_said(run, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    shop()
    monkeypatch.setattr(os, "fsync", full)
    assert "cannot write out.csv: the disk is full" in fail(
        "predict", run, "shop.csv", "--out", "out.csv"
    )
    assert here() == ["shop.csv"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("size", "1"), "the data lack column 'colour': the run was trained with 'size', 'colour'"),
        (("size,colour", "big,red"), "column 'size', row 1: 'big': a number is needed"),
        (("size,colour", "inf,red"), "column 'size', row 1: 'inf': too large"),
        (("size,colour", "1"), "line 2: 1 fields where the header has 2"),
        ((), "is empty"),
    ],
)
def test_a_table_that_does_not_suit_the_run_is_refused(run, lines, message):
    assert message in fail("predict", run, write("t.csv", *lines))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("size,colour", "1,red"), "the data lack the target 'kind': add it, or use predict"),
        (("size,colour,kind", "1,red,odd"), "'odd' where a class is needed (one of cheap, dear)"),
        (("size,colour,kind", "1,red,"), "no value where a class is needed"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(run, lines, message):
    assert message in fail("evaluate", run, write("t.csv", *lines))


@pytest.mark.parametrize("command", ["predict", "evaluate", "show"])
@pytest.mark.parametrize("name", ["config.json", "preprocessing.json", "model.safetensors"])
def test_a_damaged_run_is_refused_by_every_command(run, command, name):
    shutil.copytree(run, "run")
    path = Path("run", name)
    path.write_bytes(path.read_bytes()[:40])
    files = [] if command == "show" else [shop()]
    assert f"run/{name} is damaged" in fail(command, "run", *files)
    Path("run", name).unlink()
    assert name in fail(command, "run", *files)


def test_a_folder_that_is_no_run_is_refused():
    assert "there is no run folder nowhere" in fail("show", "nowhere")
    assert "is no run folder: it holds no config.json" in fail("show", ".")


def process(*arguments, code=None, **options):
    command = [sys.executable, "-c", code] if code else COMMAND
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_the_command_works_as_a_process_and_prints_plain_lines_into_a_pipe():
    done = process("train", shop(), *QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    legend, first, *_ = done.stdout.splitlines()
    assert legend == "training figures, with those of the validation samples in parentheses"
    assert first.startswith("epoch 1/3  loss ")
    assert "\x1b" not in done.stdout


def test_an_error_of_a_process_is_one_line_and_code_2():
    done = process("train", "irsi")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: no data set is called 'irsi'[^\n]*\n", done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_a_redirection_is_said(run):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "predict", run, shop()], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == ("error: cannot write the output: the disk is full: free some space\n")


def test_ctrl_c_keeps_what_was_learned_and_tells_how_to_go_on():
    with subprocess.Popen(
        [*COMMAND, "train", shop(), "--epochs", "100000", "--patience", "100000"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as training:  # fmt: skip
        training.stdout.readline()
        assert training.stdout.readline().startswith("epoch 1/100000")
        training.send_signal(signal.SIGINT)
        out, err = training.communicate(timeout=60)
    assert training.returncode == 130
    assert (err, "go on with: gradloom train --resume runs/shop-1" in out) == ("", True)
    run = load_run("runs/shop-1")
    assert run.history.interrupted
    assert "interrupted in epoch" in succeed("show", "runs/shop-1").stdout


@pytest.mark.parametrize("moment", ["import typer", "load_table"])
def test_ctrl_c_before_the_training_ends_quietly(moment):
    code = {
        "import typer": """
import sys
class Press:
    def find_spec(self, name, *_):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Press())
from gradloom.cli import main
main()
""",
        "load_table": """
from gradloom.cli import main
from gradloom.train import experiment
def press(*_):
    raise KeyboardInterrupt
experiment.load_table = press
main()
""",
    }[moment]
    done = process("train", "iris", code=code)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")


@pytest.mark.parametrize(
    ("library", "arguments"),
    [
        ("typer", ["--help"]),
        ("rich", ["--help"]),
        ("pandas", ["train", "iris"]),
        ("sklearn", ["train", "iris"]),
        ("numpy", ["train", "iris"]),
        ("safetensors", ["train", "iris"]),
        ("matplotlib", ["train", "iris"]),
        ("pyarrow", ["train", "t.parquet"]),
    ],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(library, arguments):
    Path("t.parquet").write_bytes(b"")
    code = f"import sys; sys.modules[{library!r}] = None; from gradloom.cli import main; main()"
    done = process(*arguments, code=code)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"error: {library} is not installed: pip install 'gradloom\[train\]'\n", done.stderr
    )
    assert not Path("runs").exists()


def test_the_bare_command_shows_the_help_and_the_version_is_told():
    assert "train" in succeed().stdout
    assert succeed("--version").stdout.strip() == metadata.version("gradloom")


def test_help_names_every_option_and_default():
    out = succeed("train", "--help").stdout
    for option in ("--target", "--hidden", "--task", "--lr", "--patience", "--resume", "0.01"):
        assert option in out
    assert all(
        command in succeed("--help").stdout for command in ("train", "predict", "evaluate", "show")
    )


def test_the_config_is_json_that_anybody_can_read(run):
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["rows"] == {"train": 24, "validation": 8, "test": 8}


# Pictures of what was learned


def test_a_runs_network_is_drawn_to_a_file(run):
    pytest.importorskip("py_mini_racer")
    assert "drawn to net.svg" in succeed("draw", run, "net.svg").stdout
    assert "neurons.0 Neuron" in Path("net.svg").read_text()
    assert "ends otherwise" in fail("draw", run, "net.jpg")


def test_a_row_is_explored_up_to_its_loss_or_without_a_target_to_the_output(run):
    shop()
    result = succeed("explore", run, "shop.csv", "--row", 2, "--out", "page.html", "--no-open")
    assert "explorer in page.html" in result.stdout
    page = Path("page.html").read_text()
    assert "<title>shop.csv, row 2</title>" in page
    assert all(f'"{label}"' in page for label in ("loss", "size", "colour=red"))
    write("new.csv", "size,colour", "3,red")
    succeed("explore", run, "new.csv", "--out", "new.html", "--no-open")
    assert '"kind"' in Path("new.html").read_text()


def test_a_row_that_does_not_exist_is_named(run):
    shop()
    assert "rows 1 to 40" in fail("explore", run, "shop.csv", "--row", 41, "--no-open")
