"""Guards: when they hold, where they were left, what to write instead."""

import linecache
import random

import numpy as np
import pytest

from gradloom.loom import guards


@pytest.mark.parametrize(
    ("wanted", "found", "holds"),
    [
        (1.0, 1.0, True),
        (1.0, 1.0 + 2**-52, False),
        (0.0, -0.0, False),
        (float("nan"), -float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), float("inf"), True),
        (float("inf"), -float("inf"), False),
    ],
)
def test_a_guard_holds_for_its_number_alone(wanted: float, found: float, holds: bool) -> None:
    assert (guards.broken(np.array([found]), np.array([wanted])) is None) == holds


def test_no_guard_is_no_broken_guard() -> None:
    assert guards.broken(np.array([]), np.array([])) is None


def test_the_first_broken_guard_is_named() -> None:
    assert guards.broken(np.array([1.0, 0.0, 0.0]), np.ones(3)) == 1


def test_a_site_is_the_line_outside_the_package() -> None:
    site = guards.here(guards.TRUTH)
    assert site.file == __file__
    assert "guards.here" in linecache.getline(__file__, site.line)


def test_a_site_whose_source_is_gone_still_has_a_remedy() -> None:
    assert "gl.where" in guards.Site("<nowhere>", 3, guards.TRUTH).remedy


def test_the_random_state_shows_draws_of_either_generator() -> None:
    before = guards.random_state()
    assert guards.random_state() == before
    random.random()
    after = guards.random_state()
    assert after != before
    np.random.rand()
    assert guards.random_state() != after
