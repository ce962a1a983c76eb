"""Which parts are learned from, and which are kept aside."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from snnlib.station.lots import keep_aside
from snnlib.station.parts import Parts


def parts_of(counts):
    """As many parts as said of each (lot, class); files need not be there."""
    places = [place for place, count in counts.items() for _ in range(count)]
    files = [Path(lot, name, f"{k:03}.png") for k, (lot, name) in enumerate(places)]
    lots, names = zip(*places)
    return Parts(tuple(files), np.array(names), np.array(lots))


def counted(parts):
    return dict(Counter(zip(parts.lots.tolist(), parts.names.tolist())))


LOTS = {
    ("mon", "OK"): 20,
    ("mon", "bent"): 4,
    ("tue", "OK"): 10,
    ("tue", "bent"): 3,
    ("tue", "worn"): 2,
}


def test_the_last_lot_is_kept_aside_but_for_kinds_that_are_nowhere_else():
    train, aside, words = keep_aside(parts_of(LOTS), "OK")
    assert counted(train) == {("mon", "OK"): 20, ("mon", "bent"): 4, ("tue", "worn"): 2}
    assert counted(aside) == {("tue", "OK"): 10, ("tue", "bent"): 3}
    assert words == "10 good parts of lot 'tue'"


def test_another_lot_is_kept_aside_if_it_is_named():
    train, aside, words = keep_aside(parts_of(LOTS), "OK", "mon")
    assert counted(train) == {("tue", "OK"): 10, ("tue", "bent"): 3, ("tue", "worn"): 2}
    assert counted(aside) == {("mon", "OK"): 20, ("mon", "bent"): 4}
    assert words == "20 good parts of lot 'mon'"


def test_the_last_lot_is_one_with_good_parts():
    train, aside, _ = keep_aside(parts_of(LOTS | {("wed", "bent"): 5}), "OK")
    assert ("wed", "bent") in counted(train)
    assert set(aside.lots) == {"tue"}


def test_of_one_lot_the_last_fifth_of_the_good_parts_is_kept_aside():
    parts = parts_of({("", "OK"): 12, ("", "bent"): 6})
    train, aside, words = keep_aside(parts, "OK")
    assert words == "the last 2 good parts"
    assert aside.files == parts.files[10:12]
    assert counted(train) == {("", "OK"): 10, ("", "bent"): 6}


def test_defects_of_other_lots_do_not_make_a_second_lot():
    parts = parts_of({("mon", "OK"): 10, ("tue", "bent"): 6})
    train, aside, words = keep_aside(parts, "OK")
    assert words == "the last 2 good parts"
    assert counted(aside) == {("mon", "OK"): 2}
    assert counted(train)[("tue", "bent")] == 6


def test_parts_without_a_lot_are_a_lot_beside_others():
    train, aside, _ = keep_aside(parts_of({("", "OK"): 6, ("tue", "OK"): 5}), "OK")
    assert set(train.lots) == {""}
    assert set(aside.lots) == {"tue"}


def test_parts_without_a_class_take_no_part():
    parts = parts_of(LOTS | {("mon", ""): 7, ("tue", ""): 7})
    train, aside, _ = keep_aside(parts, "OK")
    assert "" not in {*train.names, *aside.names}


@pytest.mark.parametrize("number", [4, 5])
def test_five_good_parts_are_the_least(number):
    parts = parts_of({("", "OK"): number, ("", "bent"): 9})
    if number == 5:
        train, aside, _ = keep_aside(parts, "OK")
        assert (len(train), len(aside)) == (13, 1)
        return
    words = r"at least 5 photographs of good parts are needed, got 4 .* 'OK'; .* \['OK', 'bent'\]$"
    with pytest.raises(ValueError, match=words):
        keep_aside(parts, "OK")


def test_no_good_part():
    with pytest.raises(ValueError, match=r"got 0 of the class 'good'; classes are \['OK', 'bent'"):
        keep_aside(parts_of(LOTS), "good")
    with pytest.raises(ValueError, match=r"got 0 of .*not given: put photographs into folders"):
        keep_aside(parts_of({("", ""): 30}), "OK")


@pytest.mark.parametrize(
    ("counts", "lot"),
    [(LOTS, "wed"), ({("mon", "OK"): 9}, "mon"), ({("", "OK"): 9}, ""), (LOTS, "")],
)
def test_a_lot_that_can_not_be_kept_aside(counts, lot):
    with pytest.raises(ValueError, match=rf"lot {lot!r} can't be kept aside: good .* in the lots"):
        keep_aside(parts_of(counts), "OK", lot)


def test_a_lot_without_good_parts_can_not_be_kept_aside():
    with pytest.raises(ValueError, match=r"'wed' can't .* in the lots \['mon', 'tue'\]"):
        keep_aside(parts_of(LOTS | {("wed", "bent"): 5}), "OK", "wed")


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["", "mon", "tue"]), st.sampled_from(["", "OK", "bent", "worn"])),
        st.integers(1, 9),
        min_size=1,
    )
)
def test_each_part_with_a_class_is_on_one_side(counts):
    good = sum(count for (_, name), count in counts.items() if name == "OK")
    assume(good >= 5)
    parts = parts_of(counts)
    train, aside, words = keep_aside(parts, "OK")
    both = [*train.files, *aside.files]
    named = [file for file, name in zip(parts.files, parts.names) if name]
    assert sorted(both) == sorted(named)
    assert "OK" in train.names
    assert str((aside.names == "OK").sum()) in words
    assert (aside.names == "OK").any()
    assert set(aside.names) <= set(train.names)  # each kind is learned
