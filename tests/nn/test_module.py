"""Modules find their parameters, keep them in shared arrays, and save and restore them."""

import copy
import json
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradloom.nn
from gradloom import Value
from gradloom.errors import ArgumentError, DataError, NotANumberError, ShapeError
from gradloom.nn import MLP, Module, Neuron, Parameter
from gradloom.nn.module import pack, parameters_of

numbers = st.floats(allow_nan=False)


class Net(Module):
    """One of everything that may hold parameters, and some of what may not."""

    def __init__(self) -> None:
        self.scale = Parameter(1.0)
        self.table = [[Parameter(2.0), Parameter(3.0)], [Parameter(4.0)]]
        self.head = Neuron(2, seed=1)
        self.named = {"a": Parameter(5.0), "many": (Neuron(1, seed=2), Parameter(6.0))}
        self.tied = self.scale
        self.head_again = self.head
        self.constant = Value(7.0)
        self.data = [[1.0, 2.0], "text", None, []]


NAMES = [
    *("scale", "table.0.0", "table.0.1", "table.1.0", "head.w.0", "head.w.1", "head.b"),
    *("named.a", "named.many.0.w.0", "named.many.0.b", "named.many.1"),
]


def test_exported_names_are_sorted_and_exist() -> None:
    listed = gradloom.nn.__all__
    assert listed == sorted(listed, key=lambda name: (not name.isupper(), name.islower(), name))
    assert all(hasattr(gradloom.nn, name) for name in listed)


class TestParameter:
    def test_is_a_leaf_that_takes_part_in_arithmetic(self) -> None:
        p, x = Parameter(3.0, label="p"), Value(2.0)
        (p * x + p).backward()
        assert (p.data, p.grad, x.grad, p.label, p._prev) == (3.0, 3.0, 3.0, "p", ())

    @pytest.mark.parametrize("data", ["1", None, 1j, [1.0]])
    def test_refuses_what_is_no_number(self, data: Any) -> None:
        with pytest.raises(NotANumberError):
            Parameter(data)

    @pytest.mark.parametrize("data", ["1", None, 1j, [1.0], Value(1.0)])
    def test_cannot_be_set_to_what_is_no_number(self, data: Any) -> None:
        p = Parameter(1.0)
        with pytest.raises(TypeError):
            p.data = data
        assert p.data == 1.0

    def test_a_copy_has_a_number_of_its_own(self) -> None:
        p = Parameter(1.0, label="p")
        p.grad = 2.0
        for twin in (copy.copy(p), copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
            assert (type(twin), twin.data, twin.grad, twin.label) == (Parameter, 1.0, 2.0, "p")
            twin.data = 5.0
        assert p.data == 1.0


class TestFinding:
    def test_names_are_paths_in_order_of_assignment_and_ties_count_once(self) -> None:
        net = Net()
        assert [name for name, _ in net.named_parameters()] == NAMES
        assert net.parameters() == [p for _, p in net.named_parameters()]
        assert len({id(p) for p in net.parameters()}) == len(NAMES)

    def test_a_plain_value_is_no_parameter(self) -> None:
        net = Net()
        assert all(p is not net.constant for p in net.parameters())

    def test_a_module_that_refers_back_to_its_parent_is_no_endless_loop(self) -> None:
        net = Net()
        net.head.parent = net  # type: ignore[attr-defined]
        assert [name for name, _ in net.named_parameters()] == NAMES

    def test_a_list_shared_in_part_keeps_what_is_new_in_it(self) -> None:
        net = Net()
        net.mixed = [net.scale, Parameter(8.0)]  # type: ignore[attr-defined]
        assert [name for name, _ in net.named_parameters()] == [*NAMES, "mixed.1"]
        assert net.state()["mixed"] == [1.0, 8.0]

    def test_two_parameters_of_one_name_are_refused(self) -> None:
        module = Module()
        module.d = {"a.b": Parameter(1.0), "a": {"b": Parameter(2.0)}}  # type: ignore[attr-defined]
        with pytest.raises(ArgumentError, match=r"Module has two parameters called d\.a\.b"):
            module.parameters()

    def test_zero_grad_zeroes_every_gradient(self) -> None:
        net = Net()
        for p in net.parameters():
            p.grad = 1.0
        net.zero_grad()
        assert [p.grad for p in net.parameters()] == [0.0] * len(NAMES)

    def test_parameters_of_takes_modules_and_iterables_and_drops_repeats(self) -> None:
        net, x = Net(), Value(1.0)
        assert [id(p) for p in parameters_of(net)] == [id(p) for p in net.parameters()]
        assert parameters_of(iter([x, x])) == [x]

    def test_parameters_of_refuses_what_is_no_value(self) -> None:
        with pytest.raises(NotANumberError, match=r"parameters are Values, got 1\.0"):
            parameters_of([Value(1.0), 1.0])  # type: ignore[list-item]


class TestPack:
    @given(st.lists(st.tuples(numbers, numbers), max_size=20))
    def test_keeps_every_number_gradient_and_identity(
        self, figures: list[tuple[float, float]]
    ) -> None:
        module = Module()
        module.ps = ps = [Parameter(data) for data, _ in figures]  # type: ignore[attr-defined]
        for p, (_, grad) in zip(ps, figures, strict=True):
            p.grad = grad
        data, grads = module.pack()
        assert list(zip(data, grads, strict=True)) == figures
        assert [(p.data, p.grad) for p in ps] == figures
        assert all(a is b for a, b in zip(module.parameters(), ps, strict=True))

    def test_moves_nothing_the_second_time(self) -> None:
        net = Net()
        assert all(a is b for a, b in zip(net.pack(), net.pack(), strict=True))

    def test_the_arrays_and_the_parameters_are_one_memory(self) -> None:
        net = Net()
        data, grads = net.pack()
        data[0] = 10.0
        (net.scale * net.table[0][1]).backward()
        net.table[1][0].data = -1.0
        assert (net.scale.data, list(grads[:4]), data[3]) == (10.0, [3.0, 0.0, 10.0, 0.0], -1.0)

    def test_takes_in_a_parameter_that_was_added_later(self) -> None:
        net = Net()
        net.pack()
        net.late = Parameter(9.0)  # type: ignore[attr-defined]
        assert list(net.pack()[0]) == [p.data for p in net.parameters()]
        assert len(net.pack()[0]) == len(NAMES) + 1

    def test_takes_back_what_a_part_had_packed_for_itself(self) -> None:
        net = Net()
        before = list(net.pack()[0])
        net.head.pack()
        assert list(net.pack()[0]) == before

    def test_follows_the_order_asked_for(self) -> None:
        ps = [Parameter(1.0), Parameter(2.0), Parameter(3.0)]
        assert list(pack(ps)[0]) == [1.0, 2.0, 3.0]
        assert list(pack(ps[::-1])[0]) == [3.0, 2.0, 1.0]

    def test_an_mlp_is_packed_from_birth(self) -> None:
        mlp = MLP(2, [3, 1])
        assert mlp.parameters()[0]._numbers is mlp.pack()[0]


class TestState:
    def test_lists_of_parameters_are_one_entry(self) -> None:
        state = Net().state()
        assert list(state) == [
            *("scale", "table", "head.w", "head.b"),
            *("named.a", "named.many.0.w", "named.many.0.b", "named.many.1"),
        ]
        assert state["table"] == [[2.0, 3.0], [4.0]]

    @given(st.lists(st.floats(), min_size=len(NAMES), max_size=len(NAMES)))
    def test_survives_json_to_the_last_bit(self, figures: list[float]) -> None:
        net, twin = Net(), Net()
        for p, x in zip(net.parameters(), figures, strict=True):
            p.data = x
        twin.load_state(json.loads(json.dumps(net.state())))
        assert np.array_equal(twin.pack()[0], figures, equal_nan=True)

    def test_takes_numpy_arrays(self) -> None:
        neuron = Neuron(2)
        neuron.load_state({"w": np.array([1.0, 2.0]), "b": np.float64(3.0)})
        assert neuron.state() == {"w": [1.0, 2.0], "b": 3.0}

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"b": None}, NotANumberError, "b in the state is None, which is no number"),
            ({"b": "1"}, NotANumberError, "b in the state is '1', which is no number"),
            ({"w": [1.0, 1j]}, NotANumberError, "w.1 in the state is 1j, which is no number"),
            ({"w": "12"}, NotANumberError, "w in the state is '12', which is no number"),
            ({"w": [1.0]}, ShapeError, "w is a list of 2 in this module but a list of 1 in the"),
            ({"w": 1.0}, ShapeError, "w is a list of 2 in this module but one number in the"),
            ({"b": [1.0]}, ShapeError, "b is one number in this module but a list of 1 in the"),
            ({"w": [1.0, [2.0]]}, ShapeError, "w.1 is one number in this module but a list of 1"),
            ({"c": 1.0}, DataError, "not one of this Neuron: it has unknown c"),
            ({"w.0": 1.0, 3: 1.0}, DataError, "it has unknown 3, w.0"),
        ],
    )
    def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
        self, change: dict[Any, Any], error: type[Exception], message: str
    ) -> None:
        neuron = Neuron(2, seed=1)
        before = neuron.state()
        with pytest.raises(error, match=message):
            neuron.load_state({"w": [8.0, 9.0], "b": 7.0} | change)
        assert neuron.state() == before

    def test_a_state_with_a_gap_is_refused(self) -> None:
        with pytest.raises(DataError, match="it lacks b and has unknown bias"):
            Neuron(2).load_state({"w": [1.0, 2.0], "bias": 1.0})

    @pytest.mark.parametrize("state", [None, [1.0], 3])
    def test_what_is_no_dict_is_refused(self, state: Any) -> None:
        with pytest.raises(DataError, match="a state is a dict of names and numbers, got"):
            Neuron(2).load_state(state)


class Link(Module):
    """A module that holds one like it, and so on; it has a slot beside its attributes."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        link, self.length = self, length
        for i in range(length):
            link.weight, link.inner = Parameter(i), Module.__new__(Link)
            link = link.inner
        link.weight = Parameter(length)


class Secretive(Module):
    """A module that leaves something out of its copies."""

    def __init__(self) -> None:
        self.inner, self.secret = Link(1), "kept"

    def __getstate__(self) -> Any:
        return vars(self) | {"secret": "forgotten"}

    def __setstate__(self, state: Any) -> None:
        vars(self).update(state)


COPIES = [copy.deepcopy, *[lambda x, p=p: pickle.loads(pickle.dumps(x, p)) for p in range(2, 6)]]


class TestCopies:
    @pytest.mark.parametrize("twin_of", COPIES)
    def test_of_networks_of_any_depth_need_no_recursion(self, twin_of: Any) -> None:
        length = 2 * sys.getrecursionlimit()
        net = Link(length)
        twin = twin_of(net)
        assert twin.length == length
        assert [p.data for p in twin.parameters()] == [float(i) for i in range(length + 1)]
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in net.parameters()}

    @pytest.mark.parametrize("twin_of", COPIES)
    def test_lead_back_to_themselves_where_a_part_knows_its_whole(self, twin_of: Any) -> None:
        net = Link(2)
        net.inner.outer = net  # type: ignore[attr-defined]
        twin = twin_of(net)
        assert twin.inner.outer is twin is not net

    @pytest.mark.parametrize("twin_of", COPIES)
    def test_heed_a_state_of_the_modules_own(self, twin_of: Any) -> None:
        net = Secretive()
        assert twin_of(net).secret == "forgotten"

    def test_of_the_surface_share_what_is_below(self) -> None:
        net = Link(2)
        assert copy.copy(net).inner is net.inner

    @pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_are_equal_and_apart_and_keep_ties(self, twin_of: Any) -> None:
        net = Net()
        net.pack()[1][0] = 3.0
        twin = twin_of(net)
        assert twin.state() == net.state()
        assert twin.scale.grad == 3.0
        assert twin.tied is twin.scale
        assert len(twin.pack()[0]) == len(NAMES)
        twin.scale.data = 100.0
        assert net.scale.data == 1.0

    def test_of_a_graph_lead_to_the_copied_parameters(self) -> None:
        mlp = MLP(2, [3, 1], seed=1)
        twin, out = copy.deepcopy((mlp, mlp([1.0, 2.0])))
        out.backward()
        mlp([1.0, 2.0]).backward()  # type: ignore[union-attr]
        assert list(twin.pack()[1]) == list(mlp.pack()[1])
        assert any(twin.pack()[1])

    def test_of_a_trained_network_give_the_same_outputs(self) -> None:
        mlp = MLP(2, [3, 2], "relu", seed=1)
        twin = pickle.loads(pickle.dumps(mlp))
        assert [v.data for v in twin([1.0, 2.0])] == [v.data for v in mlp([1.0, 2.0])]  # type: ignore[union-attr]


def test_repr_is_an_indented_outline() -> None:
    outer = Module()
    outer.net, outer.bias = Net(), Parameter(1.0)  # type: ignore[attr-defined]
    assert repr(outer).splitlines() == [
        "Module: 12 parameters",
        "  net: Net: 11 parameters",
        "    scale: 1 parameter",
        "    table: 3 parameters",
        "    head: Neuron(2, 'tanh')",
        "    named.a: 1 parameter",
        "    named.many.0: Neuron(1, 'tanh')",
        "    named.many.1: 1 parameter",
        "    tied: 1 parameter",
        "    head_again: Neuron(2, 'tanh')",
        "  bias: 1 parameter",
    ]


def test_a_module_without_a_call_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Net needs a __call__"):
        Net()([1.0])


def test_a_module_of_your_own_has_no_config_unless_you_give_it_one() -> None:
    with pytest.raises(
        ArgumentError, match=r"Net cannot be written as a config; define config\(\)"
    ):
        Net().config()
