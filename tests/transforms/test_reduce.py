"""vmap with reduce: means and sums over samples, their gradients, and how few runs they take."""

import copy
import math
import pickle
import threading
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.backends import numpy as reference
from gradloom.backends.choice import has_native
from gradloom.errors import ArgumentError, RecordingError, RecordingWarning, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(37, 5))
T = RNG.normal(size=37)
W = [0.5, -1.0, 0.25, 2.0, -0.75]

BACKENDS = ["numpy", pytest.param("native", marks=pytest.mark.skipif(not has_native(), reason=""))]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many lanes each run has that reaches a backend."""
    found: list[int] = []

    def counted(kind: Any) -> None:
        before = kind.run_batch

        def run_batch(self: Any, batch: Any, parameters: Any) -> Any:
            found.append(batch.lanes)
            return before(self, batch, parameters)

        monkeypatch.setattr(kind, "run_batch", run_batch)

    counted(reference.Runner)
    if has_native():
        from gradloom.backends.llvm import native

        counted(native.Runner)
    return found


def miss(w: Any, x: Any, t: Any) -> Any:
    return (gl.tanh(sum(a * b for a, b in zip(w, x, strict=True))) - t) ** 2


def branching(w: Any, x: Any, t: Any) -> Any:
    if x[0] > 0.0:
        return miss(w, x, t)
    return gl.exp(w[0] * x[1]) * t


def looped(f: Any, w: Any, x: Any, t: Any) -> Any:
    return gl.sum([f(w, list(row), one) for row, one in zip(x, t, strict=True)]) / len(t)


def close(found: Any, wanted: Any, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(
        np.array(found, dtype=float), np.array(wanted, dtype=float), rtol=rtol, atol=rtol
    )


# The result


@pytest.mark.parametrize("f", [miss, branching])
def test_the_mean_and_the_sum_are_those_of_a_loop(f: Any, backend: str) -> None:
    each = [f(W, list(x), float(t)) for x, t in zip(X, T, strict=True)]
    for reduce, wanted in (("mean", sum(each) / len(each)), ("sum", sum(each))):
        mapped = gl.vmap(f, in_axes=(None, 0, 0), reduce=reduce, backend=backend)
        for _ in range(2):
            found = mapped(W, X, T)
            assert type(found) is float
            close(found, wanted)


def test_each_number_of_a_nested_result_is_reduced(backend: str) -> None:
    def f(x: Any) -> Any:
        return {"a": [x, 2.0], "b": (x > 1.0, x * x)}

    found = gl.vmap(f, reduce="mean", backend=backend)([1.0, 2.0, 3.0, 6.0])
    assert found == {"a": [3.0, 2.0], "b": (0.75, 12.5)}


def test_what_no_sample_has_a_say_in_counts_once_a_sample(backend: str) -> None:
    def f(w: Any, x: Any) -> Any:
        return [w * w, 3.0, x]

    mapped = gl.vmap(f, in_axes=(None, 0), reduce="sum", backend=backend)
    assert mapped(2.0, [1.0, 2.0, 4.0]) == [12.0, 9.0, 7.0]
    slope = gl.value_and_grad(gl.vmap(lambda w, _: w * w, (None, 0), reduce="sum"), [0, 1])
    assert slope(2.0, [1.0, 2.0, 4.0]) == (12.0, (12.0, [0.0, 0.0, 0.0]))


def test_a_way_may_give_a_plain_number_where_another_gives_a_value(backend: str) -> None:
    w = Value(2.0)
    mapped = gl.vmap(lambda x: w * x if x > 0.0 else 7.0, reduce="mean", backend=backend)
    total = mapped([1.0, -1.0, 3.0, -2.0])
    total.backward()
    assert (total.data, w.grad) == (5.5, 1.0)


# Where the samples lie


@pytest.mark.parametrize("make", [np.array, np.asfortranarray, lambda x: x.tolist(), list])
def test_samples_may_lie_in_any_way(make: Any, backend: str) -> None:
    mapped = gl.vmap(miss, in_axes=(None, 0, 0), reduce="mean", backend=backend)
    close(mapped(W, make(X), T), looped(miss, W, X, T))
    wide = np.zeros((74, 10))
    wide[::2, ::2] = X
    close(mapped(W, wide[::2, ::2], T), looped(miss, W, X, T))
    close(mapped(W, X[::-1], T[::-1]), looped(miss, W, X, T))
    across = gl.vmap(miss, in_axes=(None, 1, 0), reduce="mean", backend=backend)
    close(across(W, make(X.T), T), looped(miss, W, X, T))


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_arrays_of_other_numbers_count_as_floats(kind: Any, backend: str) -> None:
    x = (10 * X).astype(kind)
    mapped = gl.vmap(miss, in_axes=(None, 0, 0), reduce="mean", backend=backend)
    close(mapped(W, x, T), looped(miss, W, x.astype(float), T))


@pytest.mark.parametrize("lanes", [1, 2, 7, 8, 9, 64, 131])
@pytest.mark.parametrize("width", [1, 2, 3, 8, 17])
def test_rows_of_any_length_are_taken_right(lanes: int, width: int, backend: str) -> None:
    x = np.arange(lanes * width, dtype=float).reshape(lanes, width)
    factors = np.arange(1.0, width + 1.0)
    mapped = gl.vmap(
        lambda x: sum(a * b for a, b in zip(factors.tolist(), x, strict=True)), backend=backend
    )
    assert mapped(x).tolist() == (x @ factors).tolist()


def test_samples_of_several_axes_and_of_several_arguments_mix(backend: str) -> None:
    a, b = RNG.normal(size=(2, 9, 3)), RNG.normal(size=9)

    def f(a: Any, s: Any, b: Any) -> Any:
        return gl.sin(a[1][2] * b) + s * a[0][0]

    mapped = gl.vmap(f, in_axes=(1, None, 0), reduce="sum", backend=backend)
    close(mapped(a, 2.0, b), sum(np.sin(a[1, :, 2] * b) + 2.0 * a[0, :, 0]))
    _, (slope, _, _) = gl.value_and_grad(mapped, [0, 1, 2])(a, 2.0, b)
    wanted = np.zeros_like(a)
    wanted[1, :, 2] = np.cos(a[1, :, 2] * b) * b
    wanted[0, :, 0] = 2.0
    close(slope, wanted)


def test_the_number_of_samples_may_change_from_call_to_call(backend: str) -> None:
    mapped = gl.vmap(lambda x: x * x, reduce="sum", backend=backend)
    for n in (1, 5, 300, 2, 5):
        assert mapped(np.arange(float(n))) == sum(i * i for i in range(n))


# Gradients


@pytest.mark.parametrize("f", [miss, branching])
def test_the_gradient_is_that_of_a_loop(f: Any, backend: str) -> None:
    mapped = gl.vmap(f, in_axes=(None, 0, 0), reduce="mean", backend=backend)
    value, (dw, dx, dt) = gl.value_and_grad(mapped, [0, 1, 2])(W, X, T)
    wanted = gl.value_and_grad(lambda w, x, t: looped(f, w, x, t), [0, 1, 2])(W, X, T)
    close(value, wanted[0])
    for found, other in zip((dw, dx, dt), wanted[1], strict=True):
        close(found, other)
    assert (type(dw), type(dx), type(dt)) == (list, np.ndarray, np.ndarray)
    assert (dx.shape, dt.shape) == (X.shape, T.shape)
    close(gl.grad(mapped)(W, X, T), wanted[1][0])
    close(gl.grad(mapped, -2)(W, X, T), wanted[1][1])


def test_a_gradient_is_an_array_where_the_argument_is_one(backend: str) -> None:
    mapped = gl.vmap(miss, in_axes=(None, 1, 0), reduce="mean", backend=backend)
    dw, dx, dt = gl.grad(mapped, [0, 1, 2])(np.array(W), X.T, T.tolist())
    wanted = gl.grad(lambda w, x, t: looped(miss, w, x, t), [0, 1, 2])(W, X, T)
    assert (dw.shape, dx.shape, type(dt)) == ((5,), (5, 37), list)
    for found, other in zip((dw, dx.T, dt), wanted, strict=True):
        close(found, other)


def test_gradients_by_nested_arguments_have_their_structure(backend: str) -> None:
    def f(p: Any, s: Any) -> Any:
        return p["a"][0] * s["x"] * s["x"] + p["a"][1] * s["y"][0] * s["y"][1]

    mapped = gl.vmap(f, in_axes=(None, 0), reduce="sum", backend=backend)
    dp, ds = gl.grad(mapped, [0, 1])(
        {"a": (2.0, 3.0)}, {"x": [1.0, 2.0], "y": ([1.0, 2.0], [3, 5])}
    )
    assert dp == {"a": (5.0, 13.0)}
    assert ds == {"x": [4.0, 8.0], "y": ([9.0, 15.0], [3.0, 6.0])}


@pytest.mark.parametrize("f", [miss, branching])
def test_backward_fills_the_gradients_of_a_loop(f: Any, backend: str) -> None:
    model = nn.Module()
    model.w = [nn.Parameter(w) for w in W]
    mapped = gl.vmap(lambda x, t: f(model.w, x, t), reduce="mean", backend=backend)
    looped(f, model.w, X, T).backward()
    wanted = [p.grad for p in model.w]
    for factor in (1.0, 1.0, 3.0):  # from the second on with the result itself
        model.zero_grad()
        (mapped(X, T) * factor).backward()
        close([p.grad for p in model.w], [factor * g for g in wanted])


def test_values_among_the_arguments_get_their_gradients(backend: str) -> None:
    for _ in range(2):
        w, scale = [Value(x) for x in W], Value(2.0)
        x = [[Value(float(v)) for v in row] for row in X]
        mapped = gl.vmap(
            lambda w, x, t, *, scale: branching(w, x, t) * scale,
            in_axes=(None, 0, 0),
            reduce="sum",
            backend=backend,
        )
        total = mapped(w, x, T, scale=scale)
        total.backward()
        dw, dx = gl.grad(lambda w, x, t: 2.0 * len(T) * looped(branching, w, x, t), [0, 1])(W, X, T)
        close([v.grad for v in w], dw)
        close([[v.grad for v in row] for row in x], dx)
        close(scale.grad, total.data / 2.0)


def test_several_results_go_backward_together(backend: str) -> None:
    w = Value(3.0)
    mapped = gl.vmap(lambda x: (w * x, w * w * x), reduce="mean", backend=backend)
    a, b = mapped(np.array([1.0, 3.0]))
    (a * 10.0 + b).backward()
    assert w.grad == 20.0 + 12.0


def test_going_back_sees_the_samples_of_its_call(backend: str) -> None:
    w, x = Value(3.0), np.array([1.0, 3.0])
    mapped = gl.vmap(lambda x: w * x * x, reduce="sum", backend=backend)
    for _ in range(2):
        x[:], w.grad = [1.0, 3.0], 0.0
        total = mapped(x)
        x[:] = 100.0
        total.backward()
        assert w.grad == 10.0


def test_a_branch_leaves_nan_in_no_gradient_of_the_other(backend: str) -> None:
    def f(w: Any, x: Any) -> Any:
        return gl.log(w * x) if x > 0.0 else w * x

    mapped = gl.vmap(f, in_axes=(None, 0), reduce="sum", backend=backend)
    found = gl.value_and_grad(mapped)(2.0, np.array([1.0, -1.0, 4.0, -2.0]))
    close(found, (math.log(16.0) - 6.0, 1.0 - 3.0))


def test_derivatives_of_derivatives_and_of_other_kinds_are_those_of_a_loop() -> None:
    x = np.array([1.0, 2.0])
    mapped = gl.vmap(lambda w, x: gl.exp(w * x), in_axes=(None, 0), reduce="mean")

    def plain(w: Any) -> Any:
        return (gl.exp(w) + gl.exp(2.0 * w)) * 0.5

    close(gl.grad(gl.grad(mapped))(0.3, x), gl.grad(gl.grad(plain))(0.3))
    close(gl.hessian(mapped)(0.3, x), gl.hessian(plain)(0.3))
    close(gl.jvp(lambda w: mapped(w, x), (0.3,), (1.0,)), gl.jvp(plain, (0.3,), (1.0,)))
    close(gl.compile(gl.grad(mapped))(0.3, x), gl.grad(plain)(0.3))
    close(gl.vmap(gl.grad(mapped), in_axes=(0, None))([0.3, 0.4], x)[0], gl.grad(plain)(0.3))


def test_a_derivative_of_values_is_a_value() -> None:
    w = Value(3.0)
    mapped = gl.vmap(lambda x: w * x * x, reduce="sum")
    value, slope = gl.value_and_grad(mapped)([1.0, 2.0])
    slope[1].backward()
    assert (value.data, [s.data for s in slope], w.grad) == (15.0, [6.0, 12.0], 4.0)


# bind


@pytest.mark.parametrize("f", [miss, branching])
def test_a_bound_loss_adds_the_gradients_of_backward(f: Any, backend: str) -> None:
    model = nn.Module()
    model.w = [nn.Parameter(w) for w in W]
    scale = Value(2.0)
    mapped = gl.vmap(
        lambda x, t, s: s * f(model.w, x, t), (0, 0, None), reduce="mean", backend=backend
    )
    total = mapped(X, T, scale)
    total.backward()
    wanted = [scale.grad, *(p.grad for p in model.w)]
    bound = mapped.bind(X, T, scale)
    for times in (2.0, 3.0):
        close(bound(), total.data)
        close([scale.grad, *(p.grad for p in model.w)], [times * g for g in wanted])
    model.w[0].data = 5.0
    close(bound(), 2.0 * looped(f, model.w, X, T).data)


def test_only_a_loss_is_bound() -> None:
    bound = gl.vmap(lambda x: [x, x], reduce="mean").bind([1.0, 2.0])
    with pytest.raises(RecordingError, match="no single value"):
        bound()


# How many runs


def test_value_and_gradient_take_one_run(runs: list[int], backend: str) -> None:
    mapped = gl.vmap(miss, in_axes=(None, 0, 0), reduce="mean", backend=backend)
    gl.value_and_grad(mapped, [0, 1])(W, X, T)
    assert runs == [37]


def test_a_step_takes_one_run_once_it_is_known_to_go_back(runs: list[int], backend: str) -> None:
    w = Value(1.0)
    mapped = gl.vmap(lambda x: w * x, reduce="mean", backend=backend)
    for _ in range(4):
        mapped(T).backward()
    assert runs == [37, 37] + [37] * 3
    mapped.bind(T)()
    assert len(runs) == 6


def test_every_further_way_takes_two_runs_of_the_lanes_it_is_for(
    runs: list[int], backend: str
) -> None:
    mapped = gl.vmap(branching, in_axes=(None, 0, 0), reduce="mean", backend=backend)
    slope = gl.grad(mapped)
    slope(W, X, T)
    runs.clear()
    slope(W, X, T)
    first = int((X[:, 0] > 0.0).sum())
    mine, other = (first, 37 - first) if X[0, 0] > 0.0 else (37 - first, first)
    assert runs == [37, mine, other]


# Threads, precision, what is refused


@pytest.mark.skipif(not has_native(), reason="NumPy has no threads of ours")
def test_the_result_is_the_same_whatever_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gradloom.backends.llvm import native

    monkeypatch.setattr(native, "_WORTH_A_THREAD", 0)
    x, t = RNG.normal(size=(5_003, 5)), RNG.normal(size=5_003)
    found = []
    for threads in (1, 2, 3):
        mapped = gl.vmap(branching, (None, 0, 0), reduce="mean", threads=threads)
        value, (dw, dx) = gl.value_and_grad(mapped, [0, 1])(W, x, t)
        found.append((value, dw, dx.tolist()))
    assert found[0] == found[1] == found[2]


@pytest.mark.skipif(not has_native(), reason="NumPy has no threads of ours")
def test_little_work_wakes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradloom.backends.llvm import native

    def refuse() -> Any:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(native, "_pool", refuse)
    assert gl.vmap(lambda x: x * x, reduce="sum", threads=2)(np.ones(10_000)) == 10_000.0


@pytest.mark.skipif(not has_native(), reason="NumPy computes with float64")
def test_float32_is_close(backend: str) -> None:  # noqa: ARG001
    mapped = gl.vmap(branching, (None, 0, 0), reduce="mean", dtype="float32")
    found = gl.value_and_grad(mapped, [0, 1])(W, X, T)
    wanted = gl.value_and_grad(gl.vmap(branching, (None, 0, 0), reduce="mean"), [0, 1])(W, X, T)
    close(found[0], wanted[0], 1e-5)
    close(found[1][0], wanted[1][0], 1e-5)
    close(found[1][1], wanted[1][1], 1e-5)
    assert found[0] != wanted[0]


def test_several_threads_may_call_at_once(backend: str) -> None:
    slope = gl.value_and_grad(gl.vmap(branching, (None, 0, 0), reduce="mean", backend=backend))
    wanted, found = slope(W, X, T), []
    workers = [
        threading.Thread(target=lambda: found.extend(slope(W, X, T) for _ in range(20)))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 60
    assert all(one == wanted for one in found)


@pytest.mark.parametrize("empty", [[], np.zeros(0), np.zeros((0, 3))])
def test_no_samples_are_refused(empty: Any) -> None:
    mapped = gl.vmap(lambda x: x, reduce="mean")
    for f in (mapped, gl.grad(mapped), lambda x: mapped.bind(x)()):
        with pytest.raises(ShapeError, match="'x' has no samples"):
            f(empty)


def test_what_does_not_fit_is_refused_as_without_reduce() -> None:
    mapped = gl.vmap(lambda x, y: x + y, reduce="mean")
    with pytest.raises(ShapeError, match="2 in argument 'x', 3 in argument 'y'"):
        mapped(np.ones(2), np.ones(3))
    with pytest.raises(ArgumentError, match="2 positional arguments, but 1"):
        gl.vmap(lambda x, _: x, in_axes=(0, 0), reduce="mean")(np.ones(2))
    with pytest.raises(ShapeError, match="no axis 1"):
        gl.vmap(lambda x: x, in_axes=1, reduce="mean")(np.ones(2))
    with pytest.raises(ArgumentError, match="reduce must be 'mean', 'sum' or None, got 'max'"):
        gl.vmap(lambda x: x, reduce="max")
    with pytest.raises(ArgumentError, match="asks for argument 2"):
        gl.grad(mapped, 2)(np.ones(2), np.ones(2))
    with pytest.raises(ShapeError, match="one number as its result"):
        gl.grad(gl.vmap(lambda x: [x, x], reduce="mean"))(np.ones(2))
    with pytest.raises(ArgumentError, match="truth values"):
        gl.grad(gl.vmap(lambda x, b: x if b else -x, in_axes=(0, None), reduce="mean"), 1)(
            np.ones(2), True
        )


def test_ways_of_several_structures_are_refused(backend: str) -> None:
    mapped = gl.vmap(lambda x: [x, x] if x > 0.0 else x, reduce="mean", backend=backend)
    with pytest.raises(ShapeError, match="the result of lane 1 is structured otherwise"):
        mapped([1.0, -1.0])


def test_too_many_ways_are_reported_and_right() -> None:
    def halved(w: Any, x: Any) -> Any:
        while x > 1.0:
            x = x / 2.0
            w = w * 2.0
        return w

    x = 2.0 ** np.arange(24)
    mapped = gl.vmap(halved, in_axes=(None, 0), reduce="sum")
    with pytest.warns(RecordingWarning, match=r"more than 16 ways"):
        assert mapped(3.0, x) == 3.0 * (2.0**24 - 1.0)
    with pytest.warns(RecordingWarning, match=r"more than 16 ways"):
        assert gl.grad(mapped)(3.0, x) == 2.0**24 - 1.0


def test_it_is_copied_and_pickled_as_it_is() -> None:
    mapped = gl.vmap(math.floor, in_axes=0, reduce="mean")
    assert repr(mapped) == "vmap(floor, in_axes=0, reduce='mean')"
    for other in (copy.copy(mapped), pickle.loads(pickle.dumps(mapped))):
        assert repr(other) == repr(mapped)
    slope = pickle.loads(pickle.dumps(gl.grad(mapped)))
    assert repr(slope) == "grad(vmap(floor, in_axes=0, reduce='mean'))"
