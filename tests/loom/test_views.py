"""Views: whatever is found must name the very slots that were given."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gradloom.loom.views import View, axes_of, common, pieces, slots_of, tables

strides = st.lists(st.tuples(st.integers(1, 4), st.integers(-9, 9)), max_size=4)


def nested(offset: int, axes: list[tuple[int, int]]) -> np.ndarray:
    """The slots of these axes, outermost first."""
    view = View(offset, tuple(stride for _, stride in axes))
    return slots_of(view, tuple(size for size, _ in axes)).ravel()


lists = st.one_of(
    st.builds(nested, st.integers(100, 200), strides),
    st.lists(st.integers(0, 9), min_size=1, max_size=30).map(np.array),
)


@given(st.integers(100, 200), strides)
def test_nested_arithmetic_is_found_again(offset: int, axes: list[tuple[int, int]]) -> None:
    slots = nested(offset, axes)
    found = axes_of(slots)
    assert found is not None
    assert nested(int(slots[0]), found).tolist() == slots.tolist()


@given(st.lists(lists, min_size=1, max_size=3))
def test_views_of_one_shape_name_the_slots_given(columns: list[np.ndarray]) -> None:
    size = min(map(len, columns))
    columns = [slots[:size] for slots in columns]
    shape, views = common(columns)
    for slots, view in zip(columns, views, strict=True):
        assert slots_of(view, shape).ravel().tolist() == slots.tolist()


@given(st.lists(lists, min_size=1, max_size=3), st.integers(1, 4))
def test_pieces_have_every_element_once(columns: list[np.ndarray], row: int) -> None:
    size = min(map(len, columns)) // row * row
    if not size:
        return
    columns = [np.arange(size) // row, *(slots[:size] for slots in columns)]
    rows = zip(*[slots.tolist() for slots in columns], strict=True)
    found = []
    for shape, views in pieces(columns, row):
        each = [slots_of(view, shape).ravel().tolist() for view in views]
        found += zip(*each, strict=True)
    assert sorted(found) == sorted(rows)


@given(st.lists(lists, min_size=1, max_size=3))
def test_in_pieces_each_row_keeps_its_order(columns: list[np.ndarray]) -> None:
    row = min(map(len, columns))
    columns = [np.tile(slots[:row], 3) + np.arange(3).repeat(row) * 1000 for slots in columns]
    out = np.arange(3).repeat(row)
    kept: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for shape, (to, first, *_) in pieces([out, *columns], row):
        for a, b in zip(slots_of(to, shape).flat, slots_of(first, shape).flat, strict=True):
            kept[int(a)].append(int(b))
    assert [x for i in range(3) for x in kept[i]] == columns[0].tolist()


def test_two_sources_side_by_side_are_cut_in_columns() -> None:
    grid = np.array([[0, 1, 2, 50, 51], [0, 1, 2, 50, 51], [0, 1, 2, 50, 51]])
    found = pieces([np.arange(3).repeat(5), grid.ravel()], row=5)
    assert [(shape, views[1].offset) for shape, views in found] == [((3, 3), 0), ((3, 2), 50)]


def test_what_would_need_many_pieces_stays_a_table() -> None:
    found = pieces([np.array([0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121])])
    assert (len(found), tables(found)) == (1, 1)
