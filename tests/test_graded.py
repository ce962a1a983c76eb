"""Parts with a defect of any amount: the same as the simulator's where it has a code for it."""

import numpy as np
import pytest

from snnlib.nsoartc.dataset import simulate
from snnlib.nsoartc.failure_modes import OK
from snnlib.nsoartc.graded import graded_maps, graded_parts
from snnlib.nsoartc.simulator import draw_parts

CODED = {
    "31D05": ("D", 0.5, (3, 1)),
    "61X10": ("X", 1.0, (6, 1)),
    "92Y10": ("Y", 1.0, (9, 2)),
    "131X-20": ("X", -2.0, (13, 1)),
    "13Y01": ("Y", 0.1, (1, 3)),
}


def test_whole_tenths_are_parts_of_that_code():
    directions, amounts, pins = zip(*CODED.values())
    made = graded_parts(directions, amounts, pins, seed=3)
    coded = draw_parts(list(CODED), seed=3)
    for array in ("x", "y", "depth", "size", "brightness", "glint"):
        np.testing.assert_allclose(getattr(made, array), getattr(coded, array), atol=1e-12)


def test_nothing_off_is_a_good_part():
    made = graded_parts(["D", "X"], [0.0, 0.0], [(1, 1), (2, 2)], seed=0)
    good = draw_parts([OK, OK], seed=0)
    assert (made.depth == good.depth).all()
    assert (made.x == good.x).all()


def test_maps_are_those_of_the_simulated_parts():
    maps = graded_maps(["D", "D"], [0.5, 0.5], [(3, 1), (3, 1)], seed=5)
    coded = simulate(2, ("31D05",), part_seed=5, shot_seed=5)
    np.testing.assert_allclose(maps, coded.images, atol=1e-5)


def test_shots_of_a_part_follow_one_another():
    maps = graded_maps(["D", "X"], [0.8, 1.5], [(3, 1), (9, 2)], seed=0, shots=3)
    assert maps.shape == (6, 1, 36, 39)
    assert maps.dtype == np.float32
    flat = maps.reshape(2, 3, -1)
    between = np.abs(flat[:, :1] - flat[:, 1:]).mean(axis=(1, 2))
    other = np.abs(flat[0, 0] - flat[1, 0]).mean()
    assert (between > 0).all()  # each shot is one of its own
    assert between.max() < other


@pytest.mark.parametrize(
    ("directions", "amounts", "pins", "words"),
    [
        (["D"], [0.5, 0.6], [(1, 1)], r"got shapes \(1,\), \(2,\) and \(1, 2\)"),
        (["D"], [0.5], [1], "a pin with its row"),
        (["Z"], [0.5], [(1, 1)], "D, X or Y, got 'Z'"),
        (["D"], [-0.1], [(1, 1)], "between -?0 and 2, got -0.1 of part 0"),
        (["X", "D"], [5.1, 0.0], [(1, 1), (1, 1)], "between -5 and 5, got 5.1 of part 0"),
        (["Y"], [np.nan], [(1, 1)], "got nan"),
        (["Y"], [1.0], [(14, 1)], r"got \[14, 1\]"),
        (["Y"], [1.0], [(1, 0)], r"got \[1, 0\]"),
    ],
)
def test_what_is_out_of_range_is_refused(directions, amounts, pins, words):
    with pytest.raises(ValueError, match=words):
        graded_parts(directions, amounts, pins, seed=0)


def test_at_least_one_shot():
    with pytest.raises(ValueError, match="shots must be at least 1"):
        graded_maps(["D"], [0.5], [(1, 1)], seed=0, shots=0)
