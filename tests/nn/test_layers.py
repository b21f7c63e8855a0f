"""Layers compute what they say, start at the scales they cite, and refuse what does not fit."""

import json
import math
import random
import statistics
from collections.abc import Callable
from typing import Any

import pytest

from gradloom import Value
from gradloom.errors import ArgumentError, DataError, GradloomError, NotANumberError, ShapeError
from gradloom.nn import ACTIVATIONS, INITS, MLP, Layer, Module, Neuron, from_config

REFERENCE: dict[str, Callable[[float], float]] = {
    "linear": lambda z: z,
    "relu": lambda z: max(z, 0.0),
    "tanh": math.tanh,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)),
    "gelu": lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + math.exp(-z)),
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "leaky_relu": lambda z: z if z > 0 else 0.01 * z,
    "softplus": lambda z: math.log1p(math.exp(z)),
    "sin": math.sin,
}


def close(x: float) -> Any:
    return pytest.approx(x, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("x", [(1.0, 2.0), (-3.0, 0.5)])
def test_a_neuron_bends_the_weighed_sum(name: str, x: tuple[float, float]) -> None:
    neuron = Neuron(2, name)
    neuron.load_state({"w": [0.7, -0.2], "b": 0.1})
    assert neuron(x).data == close(REFERENCE[name](0.7 * x[0] - 0.2 * x[1] + 0.1))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_a_network_agree_with_finite_differences(name: str) -> None:
    net = MLP(2, [3, 2, 1], name, "sigmoid", seed=4)
    x, h = [0.4, -0.9], 1e-6

    def loss() -> Value:
        out = net(x)
        assert isinstance(out, Value)
        return out * out

    loss().backward()
    for p in net.parameters():
        middle = p.data
        p.data = middle + h
        above = loss().data
        p.data = middle - h
        below = loss().data
        p.data = middle
        assert p.grad == pytest.approx((above - below) / (2 * h), rel=1e-6, abs=1e-9)


def test_an_activation_may_be_a_function_of_ones_own() -> None:
    neuron = Neuron(1, lambda z: z * z)
    neuron.load_state({"w": [2.0], "b": 1.0})
    assert neuron([1.0]).data == 9.0


def test_inputs_may_be_values_and_receive_gradients() -> None:
    x = [Value(1.0), Value(2.0)]
    neuron = Neuron(2, "linear", seed=1)
    neuron(x).backward()
    assert [v.grad for v in x] == [w.data for w in neuron.w]


def test_one_output_is_bare_and_several_are_a_list() -> None:
    assert isinstance(Layer(2, 1)([1.0, 2.0]), Value)
    assert isinstance(MLP(2, [1])([1.0, 2.0]), Value)
    assert len(Layer(2, 3)([1.0, 2.0])) == 3  # type: ignore[arg-type]
    assert len(MLP(2, [4, 2])([1.0, 2.0])) == 2  # type: ignore[arg-type]


def test_a_hidden_layer_may_be_one_neuron_wide() -> None:
    assert isinstance(MLP(2, [3, 1, 1])([1.0, 2.0]), Value)


def test_an_mlp_is_its_layers_one_after_another() -> None:
    net = MLP(2, [3, 2], "relu", "tanh", seed=1)
    hidden, last = net.layers
    out = last(hidden([1.0, 2.0]))  # type: ignore[arg-type]
    assert [v.data for v in net([1.0, 2.0])] == [v.data for v in out]  # type: ignore[union-attr]
    assert [layer.activation for layer in net.layers] == ["relu", "tanh"]


def test_micrograds_network_has_as_many_parameters_as_micrograds() -> None:
    assert len(MLP(2, [16, 16, 1]).parameters()) == 337


class TestSizes:
    @pytest.mark.parametrize(
        ("module", "x", "message"),
        [
            (Neuron(1), [], "Neuron 1→1 takes 1 input, got 0"),
            (Layer(16, 4), [1.0] * 3, "Layer 16→4 takes 16 inputs, got 3"),
            (MLP(16, [8, 4]), [1.0] * 17, r"layers.0 \(Layer 16→8\) takes 16 inputs, got 17"),
            (MLP(2, [8, 4]), 3.0, r"layers.0 \(Layer 2→8\) takes 2 inputs, got a bare number"),
            (Neuron(1), Value(3.0), "Neuron 1→1 takes 1 input, got a bare number"),
        ],
    )
    def test_of_inputs_that_do_not_fit_are_told_with_the_layer(
        self, module: Module, x: Any, message: str
    ) -> None:
        with pytest.raises(ShapeError, match=f"^{message}$"):
            module(x)

    def test_that_differ_between_layers_are_told_with_the_layer(self) -> None:
        net = MLP(2, [3, 4, 1])
        net.layers[1] = Layer(5, 4)
        with pytest.raises(ShapeError, match=r"layers.1 \(Layer 5→4\) takes 5 inputs, got 3"):
            net([1.0, 2.0])

    @pytest.mark.parametrize("size", [0, -1, 2.0, True, "2", None])
    def test_below_one_or_not_whole_are_refused(self, size: Any) -> None:
        for make in (
            lambda: Neuron(size),
            lambda: Layer(size, 1),
            lambda: Layer(1, size),
            lambda: MLP(size, [1]),
            lambda: MLP(1, [2, size]),
        ):
            with pytest.raises(ArgumentError, match="is a whole number of at least 1, got"):
                make()

    @pytest.mark.parametrize("nouts", [[], 16, None, "16"])
    def test_of_an_mlp_come_as_a_list(self, nouts: Any) -> None:
        with pytest.raises(ArgumentError, match=r"nouts is a list of sizes such as \[16, 1\], got"):
            MLP(2, nouts)


def test_an_input_that_is_no_number_is_refused() -> None:
    with pytest.raises(NotANumberError):
        Neuron(2)([1.0, "2"])


@pytest.mark.parametrize("kind", [Neuron, lambda nin, *a, **k: MLP(nin, [2, 1], *a, **k)])
class TestNames:
    def test_of_activations_are_checked(self, kind: Any) -> None:
        with pytest.raises(
            ArgumentError, match="no activation is called 'rleu'; did you mean 'relu'"
        ):
            kind(2, "rleu")

    def test_of_inits_are_checked(self, kind: Any) -> None:
        with pytest.raises(ArgumentError, match="no init is called 'he'; choose one of uniform"):
            kind(2, init="he")


class TestInit:
    def test_with_one_seed_gives_the_same_numbers_and_with_another_others(self) -> None:
        first, second, other = (list(MLP(2, [3, 1], seed=s).pack()[0]) for s in (1, 1, 2))
        assert first == second != other

    def test_may_draw_from_a_generator_which_goes_on(self) -> None:
        rng = random.Random(1)
        first, second = Neuron(2, seed=rng).state(), Neuron(2, seed=rng).state()
        assert first == Neuron(2, seed=1).state() != second

    def test_without_a_seed_follows_pythons_own(self) -> None:
        def drawn() -> list[float]:
            random.seed(3)
            return list(MLP(2, [3, 1]).pack()[0])

        state = random.getstate()
        assert drawn() == drawn()
        random.setstate(state)

    def test_without_a_seed_gives_other_numbers_each_time(self) -> None:
        assert Neuron(2).state() != Neuron(2).state()

    @pytest.mark.parametrize("seed", ["1", 1.5, -1])
    def test_refuses_a_seed_that_is_no_whole_number(self, seed: Any) -> None:
        with pytest.raises(ArgumentError, match="seed is a whole number of at least 0, got"):
            Neuron(2, seed=seed)

    @pytest.mark.parametrize(
        ("init", "variance"),
        [
            ("uniform", 1 / 3),
            ("xavier_uniform", 2 / (50 + 30)),
            ("xavier_normal", 2 / (50 + 30)),
            ("he_uniform", 2 / 50),
            ("he_normal", 2 / 50),
        ],
    )
    def test_has_the_published_variance(self, init: str, variance: float) -> None:
        drawn = list(Layer(50, 30, init=init, seed=1).pack()[0])
        assert len(drawn) == 51 * 30
        assert statistics.fmean(drawn) == pytest.approx(0, abs=4 * math.sqrt(variance / len(drawn)))
        assert statistics.pvariance(drawn) == pytest.approx(variance, rel=0.12)
        if "normal" not in init:
            assert max(map(abs, drawn)) <= math.sqrt(3 * variance)
            assert max(map(abs, drawn)) == pytest.approx(math.sqrt(3 * variance), rel=0.01)

    def test_table_is_what_the_variances_are_tested_for(self) -> None:
        assert set(INITS) == {
            *("uniform", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal"),
        }

    @pytest.mark.parametrize(("name", "init"), [("relu", "he_uniform"), ("tanh", "xavier_uniform")])
    def test_follows_the_activation_unless_told_otherwise(self, name: str, init: str) -> None:
        assert Layer(3, 2, name, seed=1).state() == Layer(3, 2, name, init=init, seed=1).state()

    def test_of_a_single_neuron_is_micrograds(self) -> None:
        assert Neuron(3, seed=1).state() == Neuron(3, init="uniform", seed=1).state()

    def test_draws_biases_too(self) -> None:
        assert len({neuron.b.data for neuron in Layer(2, 5, seed=1).neurons}) == 5

    def test_may_be_a_function_of_ones_own(self) -> None:
        assert set(MLP(2, [3, 1], init=lambda: 0.25).pack()[0]) == {0.25}

    @pytest.mark.parametrize("name", ["relu", "tanh"])
    def test_keeps_signals_alive_through_many_layers(self, name: str) -> None:
        out = MLP(24, [24] * 16, name, name, seed=1)([1.0, -1.0] * 12)
        size = math.sqrt(statistics.fmean(v.data**2 for v in out))  # type: ignore[union-attr]
        assert 0.1 < size < 10


class TestConfig:
    @pytest.mark.parametrize(
        "module",
        [
            Neuron(3, "sin"),
            Layer(2, 3, "relu"),
            MLP(2, (4, 1), "gelu", "sigmoid", init="he_normal"),
        ],
        ids=repr,
    )
    def test_through_json_builds_the_same_network(self, module: Module) -> None:
        twin = from_config(json.loads(json.dumps(module.config())))
        twin.load_state(module.state())
        assert repr(twin) == repr(module)
        assert twin.config() == module.config()
        assert twin.state() == module.state()

    def test_cannot_hold_a_function(self) -> None:
        with pytest.raises(ArgumentError, match="MLP: output_activation is the function <function"):
            MLP(2, [1], output_activation=lambda z: z).config()

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (None, "a network's config is a dict with a type, got None"),
            ([], r"a network's config is a dict with a type, got \[\]"),
            ({"nin": 2}, "a network's config is a dict with a type, got {'nin': 2}"),
            ({"type": ["MLP"]}, "a network's config is a dict with a type"),
            ({"type": "MPL"}, "no network is called 'MPL'; did you mean 'MLP'"),
            ({"type": "Layer", "nin": 2}, "config of a Layer has nin, nout, activation, got nin"),
            ({"type": "Neuron"}, "config of a Neuron has nin, activation, got nothing"),
            (Layer(1, 2).config() | {"os": 1}, "got nin, nout, activation, os"),
            (Layer(1, 2).config() | {"nout": 0}, "Layer: nout is a whole number"),
            (Layer(1, 2).config() | {"activation": "exec"}, "no activation is called 'exec'"),
        ],
    )
    def test_that_is_none_of_ours_is_refused(self, config: Any, message: str) -> None:
        with pytest.raises(GradloomError, match=message) as caught:
            from_config(config)
        assert isinstance(caught.value, (DataError, ArgumentError))
