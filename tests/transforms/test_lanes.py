"""vmap as a user meets it: batches, branches, parameters, derivatives, and what is refused."""

import copy
import functools
import pickle
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradloom as gl
from gradloom import Value, nn
from gradloom.errors import ArgumentError, NotANumberError, RecordingWarning, ShapeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 3))


def score(w: Any, x: Any) -> Any:
    return gl.tanh(sum(a * b for a, b in zip(w, x, strict=True)))


def branching(x: Any, y: Any) -> Any:
    if x > 0.0:
        return gl.log(x) * y
    return -gl.exp(x) * y


# What it gives


@pytest.mark.parametrize("samples", [X, X.tolist(), list(X)])
def test_it_maps_arrays_and_lists_along_their_first_axis(samples: Any) -> None:
    found = gl.vmap(score, in_axes=(None, 0))([1.0, -2.0, 0.5], samples)
    np.testing.assert_allclose(found, np.tanh(X @ [1.0, -2.0, 0.5]), rtol=1e-14)


@pytest.mark.parametrize("samples", [X.T, X.T.tolist()])
def test_it_maps_along_another_axis(samples: Any) -> None:
    found = gl.vmap(score, in_axes=(None, 1))([1.0, -2.0, 0.5], samples)
    np.testing.assert_allclose(found, np.tanh(X @ [1.0, -2.0, 0.5]), rtol=1e-14)


def test_a_sample_of_an_array_is_an_array_and_of_a_list_what_stands_in_it() -> None:
    found = gl.vmap(lambda a, b: a.sum() * a.shape[0] + b[1]["k"])(
        np.ones((2, 3)), [(0.0, {"k": 1.0}), (0.0, {"k": 2.0})]
    )
    assert found.tolist() == [10.0, 11.0]


class Point(NamedTuple):
    x: Any
    y: Any


def test_tuples_and_dicts_are_mapped_entry_by_entry() -> None:
    def f(point: Point, rest: dict[str, Any]) -> Point:
        return Point(point.x + rest["a"], point.y * rest["b"][0])

    found = gl.vmap(f)(Point([1.0, 2.0], np.array([3.0, 4.0])), {"a": [1, 1], "b": ([5, 6],)})
    assert isinstance(found, Point)
    assert (found.x.tolist(), found.y.tolist()) == ([2.0, 3.0], [15.0, 24.0])


def test_results_are_stacked_each_number_an_array() -> None:
    def f(x: Any) -> Any:
        return {"a": x, "b": [x, 2 * x], "c": [[x, 1.0], [0.0, x]], "d": ([x], [x, x]), "e": x > 1}

    found = gl.vmap(f)([1.0, 2.0, 3.0])
    assert found["a"].tolist() == [1.0, 2.0, 3.0]
    assert found["b"].tolist() == [[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]
    assert found["c"].shape == (3, 2, 2)
    assert found["c"][1].tolist() == [[2.0, 1.0], [0.0, 2.0]]
    assert [part.shape for part in found["d"]] == [(3, 1), (3, 2)]
    assert found["e"].tolist() == [False, True, True]
    assert all(part.dtype == np.float64 for part in (found["a"], found["b"]))


def test_rows_of_different_length_within_a_result_stay_a_list() -> None:
    found = gl.vmap(lambda x: [[x], [x, x]])([1.0, 2.0])
    assert [part.shape for part in found] == [(2, 1), (2, 2)]


def test_keyword_arguments_are_shared_and_read_at_every_call() -> None:
    mapped = gl.vmap(lambda x, *, scale: x * scale)
    assert mapped([1.0, 2.0], scale=2.0).tolist() == [2.0, 4.0]
    assert mapped([1.0, 2.0], scale=3.0).tolist() == [3.0, 6.0]


def test_numbers_of_lanes_may_change_from_call_to_call() -> None:
    mapped = gl.vmap(lambda x: x * x)
    for n in (1, 5, 2, 100, 5):
        assert mapped(np.arange(float(n))).tolist() == [i * i for i in range(n)]


def test_f_runs_once_for_all_lanes_and_calls() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return x * 2.0

    mapped = gl.vmap(f)
    mapped(np.arange(1000.0))
    mapped(np.arange(1000.0))
    assert len(calls) == 1


# Branches


def test_every_lane_takes_its_own_branch() -> None:
    x = np.array([1.0, -1.0, 2.0, -3.0, 0.5])
    found = gl.vmap(branching, in_axes=(0, None))(x, 10.0)
    wanted = [branching(float(v), 10.0) for v in x]
    np.testing.assert_allclose(found, wanted, rtol=1e-14)


def test_a_branch_seen_later_is_recorded_later_and_both_are_kept() -> None:
    calls = []

    def f(x: Any) -> Any:
        calls.append(1)
        return branching(x, 1.0)

    mapped = gl.vmap(f)
    for x in ([1.0, 2.0], [1.0, -1.0], [-1.0, -2.0], [3.0, -4.0]):
        np.testing.assert_allclose(mapped(x), [branching(v, 1.0) for v in x], rtol=1e-14)
    assert len(calls) == 2


def test_lanes_that_loop_until_they_converge_are_right_and_too_many_ways_are_reported() -> None:
    def halvings(x: Any) -> Any:
        count = 0.0
        while x > 1.0:
            x = x / 2.0
            count += 1.0
        return count

    x = 2.0 ** np.arange(24)
    with pytest.warns(RecordingWarning, match=r"test_lanes\.py:\d+.*gl\.where") as caught:
        found = gl.vmap(halvings)(x)
    assert found.tolist() == list(range(24))
    assert str(caught[0].message).count("\n") == 0


def test_a_branch_leaves_nan_in_no_gradient_of_the_other() -> None:
    w = Value(2.0)
    x = [1.0, -1.0, 4.0, -2.0]  # log of a negative number, were all lanes to go one way
    sum(gl.vmap(lambda v: branching(v, w))(x)).backward()
    found, w.grad = w.grad, 0.0
    sum(branching(v, w) for v in x).backward()
    assert found == pytest.approx(w.grad, rel=1e-14)


def test_lanes_of_different_structure_on_different_branches_are_refused() -> None:
    with pytest.raises(ShapeError, match="result of lane 1 is structured otherwise"):
        gl.vmap(lambda x: [x] if x > 0 else [x, x])([1.0, -1.0])


# Gradients


def test_a_batch_through_a_network_has_the_gradients_of_a_loop() -> None:
    model = nn.MLP(3, [4, 2], seed=0)
    found = gl.vmap(model)(X)
    assert found.shape == (7, 2)
    sum((y - 1.0) ** 2 for y in found.ravel()).backward()
    gradient = [p.grad for p in model.parameters()]
    model.zero_grad()
    eager = [y for x in X for y in model(list(x))]
    sum((y - 1.0) ** 2 for y in eager).backward()
    np.testing.assert_allclose([y.data for y in found.ravel()], [y.data for y in eager], rtol=1e-13)
    np.testing.assert_allclose(gradient, [p.grad for p in model.parameters()], rtol=1e-12)


def test_parameters_are_read_afresh_and_gradients_add_up() -> None:
    w = Value(3.0)
    mapped = gl.vmap(lambda x: w * x)
    mapped([1.0, 2.0])[1].backward()
    w.data = 5.0
    found = mapped([1.0, 2.0])
    assert [y.data for y in found] == [5.0, 10.0]
    (found[0] * found[1]).backward()
    assert w.grad == 2.0 + (10.0 * 1.0 + 5.0 * 2.0)


def test_gradients_flow_to_values_among_the_arguments_lane_by_lane() -> None:
    xs, w = [Value(1.0), Value(-2.0), Value(0.5)], Value(3.0)
    found = gl.vmap(branching, in_axes=(0, None))(xs, w)
    sum(found[[0, 2]]).backward()
    wanted = [gl.grad(branching, (0, 1))(x.data, 3.0) for x in xs]
    assert [x.grad for x in xs] == pytest.approx([wanted[0][0], 0.0, wanted[2][0]])
    assert w.grad == pytest.approx(wanted[0][1] + wanted[2][1])


def test_a_result_that_no_lane_has_a_say_in_is_the_same_in_all() -> None:
    w = Value(3.0)
    shared, own = gl.vmap(lambda x: (w * w, w * x))([1.0, 2.0])
    assert [y.data for y in shared] == [9.0, 9.0]
    (shared[0] + shared[1] + own[1]).backward()
    assert w.grad == 6.0 + 6.0 + 2.0


def test_vmap_of_grad() -> None:
    found = gl.vmap(gl.grad(score), in_axes=(None, 0))([1.0, -2.0, 0.5], X)
    wanted = [gl.grad(score)([1.0, -2.0, 0.5], list(x)) for x in X]
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_vmap_of_a_hessian() -> None:
    found = gl.vmap(gl.hessian(lambda v: gl.exp(v[0]) * v[1] * v[2]))(X)
    wanted = [gl.hessian(lambda v: gl.exp(v[0]) * v[1] * v[2])(list(x)) for x in X]
    np.testing.assert_allclose(found, wanted, rtol=1e-13)


def test_grad_of_a_sum_over_vmap_whether_w_is_passed_or_read_from_outside() -> None:
    xs = [1.0, 2.0, 3.0]
    wanted = sum(x * np.cos(0.5 * x) for x in xs)
    mapped = gl.vmap(lambda w, x: gl.sin(w * x), in_axes=(None, 0))
    assert gl.grad(lambda w: sum(mapped(w, xs)))(0.5) == pytest.approx(wanted)
    closed = gl.grad(lambda w: sum(gl.vmap(lambda x: gl.sin(w * x))(xs)))
    assert closed(0.5) == pytest.approx(wanted)


def test_vmap_inside_compile_and_compile_inside_vmap() -> None:
    def f(w: Any, x: Any) -> Any:
        return gl.sin(w * x)

    xs = [1.0, 2.0, 3.0]
    outer = gl.compile(lambda w, xs: sum(gl.vmap(f, in_axes=(None, 0))(w, xs)))
    assert outer(0.5, xs) == pytest.approx(sum(np.sin(0.5 * np.array(xs))))
    assert len(outer.program.instructions) <= 3
    inner = gl.vmap(gl.compile(f), in_axes=(None, 0))
    np.testing.assert_allclose(inner(0.5, xs), np.sin(0.5 * np.array(xs)), rtol=1e-15)


def test_vmap_of_vmap() -> None:
    table = gl.vmap(gl.vmap(lambda x, y: x * y, in_axes=(None, 0)), in_axes=(0, None))
    np.testing.assert_array_equal(table([1.0, 2.0], [3.0, 4.0, 5.0]), [[3, 4, 5], [6, 8, 10]])


# What is refused


@pytest.mark.parametrize("axes", ["0", 1.0, True, -1, (0, -1)])
def test_an_axis_that_is_none_is_refused_at_once(axes: Any) -> None:
    with pytest.raises(ArgumentError, match="an axis is 0, 1, … or None"):
        gl.vmap(score, in_axes=axes)


def test_axes_for_another_number_of_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="2 positional arguments, but 1 were given"):
        gl.vmap(score, in_axes=(None, 0))([1.0])


def test_nothing_to_map_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no argument is mapped"):
        gl.vmap(score, in_axes=None)([1.0], [2.0])


def test_different_numbers_of_samples_are_refused_by_name() -> None:
    with pytest.raises(ShapeError, match="2 in argument 'w', 3 in argument 'x'"):
        gl.vmap(score)([[1.0]] * 2, [[1.0]] * 3)
    with pytest.raises(ShapeError, match=r"argument 'd': its entries .*: 1, 2"):
        gl.vmap(lambda d: d["a"])({"a": [1.0], "b": [1.0, 2.0]})


def test_shapes_that_differ_between_lanes_are_refused_by_name_and_lane() -> None:
    with pytest.raises(ShapeError, match="in argument 'x' lane 1 is a list of 1, but lane 0 a li"):
        gl.vmap(score, in_axes=(None, 0))([1.0, 2.0], [[1.0, 2.0], [1.0]])


def test_no_samples_and_no_axis_to_take_them_from_are_refused() -> None:
    with pytest.raises(ShapeError, match="argument 'x' has no samples"):
        gl.vmap(score, in_axes=(None, 0))([1.0], [])
    with pytest.raises(ShapeError, match="argument 'w' has no axis 0"):
        gl.vmap(score)(1.0, [[1.0]])
    with pytest.raises(ShapeError, match="argument 'x' has no axis 1"):
        gl.vmap(score, in_axes=(None, 1))([1.0], np.zeros(3))


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(NotANumberError, match="is str"):
        gl.vmap(lambda x: "text")([1.0, 2.0])  # noqa: ARG005
    with pytest.raises(ArgumentError, match="can be read only once"):
        gl.vmap(score, in_axes=(0, None))([[1.0]], iter([1.0]))


# The rest


def test_it_keeps_the_name_and_says_what_it_is() -> None:
    mapped = gl.vmap(score, in_axes=(None, 0))
    assert mapped.__name__ == "score"  # type: ignore[attr-defined]
    assert repr(mapped) == "vmap(score, in_axes=(None, 0))"


def test_it_pickles_as_its_function_and_its_results_copy() -> None:
    mapped = pickle.loads(pickle.dumps(gl.vmap(score, in_axes=(None, 0))))
    w = [Value(1.0), Value(-2.0), Value(0.5)]
    total = sum(mapped(w, X))
    copied_w, copied = copy.deepcopy((w, total))
    copied.backward()
    assert w[0].grad == 0.0
    total.backward()
    assert [a.grad for a in copied_w] == [a.grad for a in w]
    assert w[0].grad != 0.0


def test_threads_map_at_once() -> None:
    mapped = gl.vmap(functools.partial(score, [1.0, -2.0, 0.5]))
    wrong = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(30):
            x = rng.normal(size=(50, 3))
            if not np.allclose(mapped(x), np.tanh(x @ [1.0, -2.0, 0.5])):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
