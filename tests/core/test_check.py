"""gradcheck finds wrong rules, detect_anomaly the first NaN or infinity."""

import dataclasses
import inspect
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as hs

import gradloom as gl
import strategies as st
from gradloom import Value, detect_anomaly, grad, gradcheck
from gradloom.core import value
from gradloom.core.table import OPS, apply
from gradloom.errors import AnomalyError, GradloomError, NotANumberError, ShapeError

# gradcheck


def test_a_right_gradient_passes() -> None:
    report = gradcheck(lambda x, w: (x * w[0]).tanh() + gl.exp(w[1]) ** 2, 0.5, [1.5, -2.0])
    assert report
    assert report.ok is True
    assert report.entries == 3
    assert report.error <= 1.0
    assert "agree over 3 entries" in str(report)


@pytest.fixture
def row() -> Iterator[Callable[..., None]]:
    """Change a row of the table for one test."""
    before = dict(OPS)

    def change(symbol: str, **fields: Any) -> None:
        OPS[symbol] = dataclasses.replace(OPS[symbol], **fields)

    yield change
    OPS.clear()
    OPS.update(before)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda _y, x: gl.sin(x),  # the sign
        lambda _y, x: -gl.sin(x) * (1.0 + 1e-4),  # a little off
        lambda _y, _x: 0.0,
        lambda _y, _x: math.nan,
        lambda _y, _x: math.inf,
    ],
)
def test_a_wrong_rule_is_caught(row: Callable[..., None], wrong: Callable[..., Any]) -> None:
    def f(v: Any) -> Any:
        return v[0] ** 2 + apply(OPS["cos"], v[1]) + v[2]

    at = [0.3, 0.8, 2.0]
    assert gradcheck(f, at)
    row("cos", partials=(wrong,))
    report = gradcheck(f, at)
    assert not report
    assert report.worst == "x[1]"
    assert report.gradient == pytest.approx(wrong(None, 0.8), nan_ok=True)
    assert report.difference == pytest.approx(-math.sin(0.8))
    assert report.error > 1.0
    assert "DISAGREE" in str(report)
    assert "x[1]" in str(report)


@pytest.mark.parametrize("symbol", sorted(set(OPS) - {"detach"}))
@hypothesis.given(data=hs.data())
@hypothesis.settings(
    max_examples=5, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)
def test_every_row_of_the_table_passes(symbol: str, data: Any) -> None:
    xs = data.draw(st.in_domain(OPS[symbol]))
    report = gradcheck(lambda v: apply(OPS[symbol], *v), xs)
    assert report, str(report)


def test_the_worst_entry_is_written_as_python_reaches_it(row: Callable[..., None]) -> None:
    row("cos", partials=(lambda _y, _x: 0.0,))

    def cos(x: Any) -> Any:
        return apply(OPS["cos"], x)

    assert gradcheck(cos, 1.0).worst == "x"
    assert gradcheck(lambda v: v[0] * cos(v[1][0]), [1.0, [1.0]]).worst == "x[1][0]"
    assert gradcheck(lambda d: cos(d["w"][0]), {"w": [1.0]}).worst == "x['w'][0]"
    assert gradcheck(lambda _, b: cos(b), 1.0, 1.0).worst == "argument 1"
    assert gradcheck(lambda a, _: cos(a[1]), [1.0, 1.0], 1.0).worst == "argument 0[1]"


def test_a_detached_value_is_seen_to_be_wrong() -> None:
    report = gradcheck(lambda x: x * gl.detach(x), 3.0)
    assert not report
    assert (report.gradient, report.difference) == (3.0, pytest.approx(6.0))


def test_a_kink_at_the_point_itself_is_reported() -> None:
    assert not gradcheck(gl.relu, 0.0)
    assert gradcheck(gl.relu, 0.1)


def test_large_and_small_arguments_pass() -> None:
    for x in (1e-8, 1e-3, 1.0, 1e4, 1e8):
        assert gradcheck(lambda x: x**2, x)
        assert gradcheck(lambda x: gl.log(x + 1.0), x)


def test_step_and_tolerances_can_be_chosen() -> None:
    assert not gradcheck(lambda x: x**3, 1.0, step=0.1)
    assert gradcheck(lambda x: x**3, 1.0, step=0.1, rtol=0.1)
    assert gradcheck(lambda x: x**3, 1.0, step=0.1, atol=0.1)


def test_values_arrays_and_whole_numbers_are_taken() -> None:
    assert gradcheck(lambda x, y: x * y**2, Value(2.0), 3)
    assert gradcheck(lambda m: m[0][0] * m[1][1] - m[0][1] * m[1][0], np.eye(2) * 2.0).entries == 4


def test_nothing_to_check_is_no_failure() -> None:
    report = gradcheck(lambda _: 1.0, [])
    assert report
    assert report.entries == 0


def test_gradcheck_refuses_what_it_cannot_check() -> None:
    with pytest.raises(ShapeError, match="one number as its result"):
        gradcheck(lambda x: [x], 1.0)
    with pytest.raises(NotANumberError):
        gradcheck(lambda x: x, "a")


def test_second_derivatives_can_be_checked_too() -> None:
    assert gradcheck(grad(lambda x: gl.sin(x) * x**3), 0.7)


# detect_anomaly

HERE = Path(__file__).name


def line() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def quiet() -> None:
    """Nothing is watched."""
    assert value.watcher is None
    assert math.isinf(Value(0.0).log().data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.log(), r"'log'\(x=0.0\) gave -inf"),
        (gl.log, r"'log'\(x=0.0\) gave -inf"),
        (lambda x: 1 / x, r"'/'\(1.0, x=0.0\) gave inf"),
        (lambda x: x / x, r"'/'\(x=0.0, x=0.0\) gave nan"),
        (lambda x: x**-1, r"'\*\*'\(x=0.0, -1.0\) gave inf"),
        (lambda x: (x - 1) ** 0.5, r"'\*\*'\(-1.0, 0.5\) gave nan"),
        (lambda x: x + math.inf, r"'\+'\(x=0.0, inf\) gave inf"),
        (lambda x: (x + 1e200) * 1e200, r"'\*'\(1e\+200, 1e\+200\) gave inf"),
        (lambda x: gl.sum([x, 1, 2, 3, math.nan]), r"'sum'\(x=0.0, 1.0, 2.0, 3.0, …\) gave nan"),
        (lambda x: Value(math.nan, label="bad") * x, r"'\*'\(bad=nan, x=0.0\) gave nan"),
    ],
)
def test_the_first_bad_result_names_operation_and_inputs(
    make: Callable[[Value], Value], message: str
) -> None:
    x = Value(0.0, label="x")
    with pytest.raises(AnomalyError, match=message) as caught, detect_anomaly():
        make(x)
    assert HERE in str(caught.value)
    assert isinstance(caught.value, ArithmeticError)
    assert isinstance(caught.value, GradloomError)
    assert "\n" not in str(caught.value)
    quiet()


def test_forward_the_line_of_the_user_is_named() -> None:
    with pytest.raises(AnomalyError) as caught, detect_anomaly():  # noqa: PT012
        x = Value(0.0)
        y = x + 1.0
        here = line() + 1
        z = x.log() * y
        z.backward()
    assert f"{HERE}:{here};" in str(caught.value)


def test_the_line_is_found_through_functions_of_gradloom() -> None:
    with pytest.raises(AnomalyError) as caught, detect_anomaly():  # noqa: PT012
        here = line() + 1
        gl.log_softmax([Value(math.inf), Value(math.inf)])
    assert f"{HERE}:{here};" in str(caught.value)


def test_backward_names_operation_gradients_and_the_line_that_made_it() -> None:
    with pytest.raises(AnomalyError) as caught, detect_anomaly():  # noqa: PT012
        x = Value(0.0, label="x")
        here = line() + 1
        root = x.sqrt()
        y = root * 3.0
        y.backward()
    message = str(caught.value)
    assert "backward through 'sqrt'(x=0.0) made the gradient of operand 0 inf" in message
    assert "local derivative inf, gradient from above 3.0" in message
    assert message.endswith(f"{HERE}:{here}")
    quiet()


def test_backward_of_a_graph_made_earlier_is_watched_too() -> None:
    y = Value(0.0).sqrt() * 2.0
    with pytest.raises(AnomalyError, match="a line before detect_anomaly"), detect_anomaly():
        y.backward()


def test_overflow_on_the_way_back_is_found() -> None:
    x = Value(1e-200)
    y = (x * 1e300) * 1e300
    with pytest.raises(AnomalyError, match=r"gradient of operand 0 inf"), detect_anomaly():
        y.backward()


def test_what_a_mask_blocks_is_no_anomaly() -> None:
    with detect_anomaly():
        x = Value(-1.0)
        y = (x.relu() + 1.0) * gl.where(x > 0, 2.0, x)
        y.backward()
        gl.sqrt(Value(0.0).detach())
    assert x.grad == 1.0


def test_a_healthy_graph_is_the_same_under_watch() -> None:
    def work() -> tuple[float, float]:
        x = Value(0.5)
        y = gl.sum([(x * 2.0 - 1.0).tanh(), x**3, 2.0 / x, gl.max(x, 0.0), 3.0 * x])
        y.backward()
        return y.data, x.grad

    plain = work()
    with detect_anomaly():
        assert work() == plain
    quiet()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda: grad(gl.log)(0.0), r"'log'\(0.0\) gave -inf at"),
        (
            lambda: grad(lambda x: 3.0 * gl.sqrt(x))(0.0),
            r"backward through 'sqrt'\(0.0\)",
        ),
        (lambda: gl.jvp(gl.sqrt, (0.0,), (1.0,)), r"'sqrt'\(0.0\) has the tangent inf at"),
        (lambda: gl.jvp(gl.log, (-1.0,), (1.0,)), r"'log'\(-1.0\) gave nan at"),
        (lambda: grad(grad(lambda x: x**1.5))(0.0), r"made a gradient inf \(local derivative"),
        (lambda: gl.hessian(lambda v: gl.log(v[0]))([0.0]), r"'log'\(0.0\) gave -inf at"),
        (lambda: grad(gl.log)(Value(0.0, label="x")), r"'log'\(x=0.0\) gave -inf at"),
    ],
)
def test_transforms_are_watched_too(run: Callable[[], Any], message: str) -> None:
    run()  # no exception without
    with pytest.raises(AnomalyError, match=message) as caught, detect_anomaly():
        run()
    assert HERE in str(caught.value)
    quiet()


def test_a_pullback_made_earlier_is_watched() -> None:
    _, pullback = gl.vjp(gl.sqrt, 0.0)
    with pytest.raises(AnomalyError, match="a line before detect_anomaly"), detect_anomaly():
        pullback(1.0)


def test_healthy_transforms_are_the_same_under_watch() -> None:
    def work() -> Any:
        f: Callable[[Any], Any] = lambda v: gl.sin(v[0]) * v[1] ** 3  # noqa: E731
        return grad(f)([0.5, 2.0]), gl.hessian(f)([0.5, 2.0])

    plain = work()
    with detect_anomaly():
        assert work() == plain


def test_contexts_nest_and_end_with_an_exception() -> None:
    with detect_anomaly():
        with pytest.raises(KeyError), detect_anomaly():
            raise KeyError
        with pytest.raises(AnomalyError):
            Value(0.0).log()
    quiet()


def test_the_context_is_a_decorator_too() -> None:
    @detect_anomaly()
    def work(x: float) -> float:
        return Value(x).log().data

    assert work(1.0) == 0.0
    with pytest.raises(AnomalyError):
        work(0.0)
    assert work(1.0) == 0.0
    quiet()


def test_other_threads_are_not_disturbed() -> None:
    inside, done = threading.Event(), threading.Event()

    def other() -> float:
        inside.wait()
        y = Value(0.0).log() * 2.0
        y.backward()
        found = grad(gl.log)(0.0)
        done.set()
        assert found == math.inf
        return y.data

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(other)
        with detect_anomaly():
            inside.set()
            done.wait()
            with pytest.raises(AnomalyError):
                Value(0.0).log()
        assert result.result() == -math.inf
    quiet()


def test_threads_that_come_and_go_do_not_trip_one_another() -> None:
    barrier = threading.Barrier(3)

    def watched() -> int:
        barrier.wait()
        caught = 0
        for _ in range(200):
            try:
                with detect_anomaly():
                    Value(0.0).log()
            except AnomalyError:
                caught += 1
        return caught

    def plain() -> int:
        barrier.wait()
        for _ in range(200):
            x = Value(0.0)
            y = x.log() + gl.sum([x, x * x])
            y.backward()
        return 0

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(job) for job in (watched, watched, plain)]
        assert [job.result() for job in jobs] == [200, 200, 0]
    quiet()


def test_a_folder_named_like_the_package_is_the_users() -> None:
    beside = str(Path(gl.__file__).parent) + "_lab"
    code = compile("def make(x):\n    return x.log()\n", f"{beside}/lab.py", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    with pytest.raises(AnomalyError, match=r"_lab/lab\.py:2"), detect_anomaly():
        space["make"](Value(0.0))
