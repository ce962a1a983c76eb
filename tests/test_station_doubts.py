"""What deserves doubt: each doubt with a case that calls for it, and one that does not."""

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from snnlib.images import ImageSet
from snnlib.station.anchors import place_anchors
from snnlib.station.doubts import (
    check_bits,
    doubts_of_anchor,
    doubts_of_defects,
    doubts_of_invalid,
    doubts_of_limit,
    doubts_of_parts,
    doubts_of_proportions,
)
from snnlib.station.parts import Parts
from snnlib.station.rule import set_rule
from snnlib.station.station import Station

GAP = 20.0  # between the middles of good and of bent parts; each scatters by 1 in 4 directions


def scattered(middle, n, seed):
    """Points about a place on the first axis."""
    points = np.random.default_rng(seed).normal(size=(n, 4))
    points[:, 0] += middle
    return points


def anchors_of(**middles):
    """Anchors of 50 parts each."""
    points = [scattered(middle, 50, seed) for seed, middle in enumerate(middles.values())]
    return place_anchors(np.concatenate(points), np.repeat(list(middles), 50))


def asked(calibration, anchors, **settings):
    """The doubts about a limit that comes from points of parts called OK."""
    distances = anchors.distances(calibration)
    to_good = distances[:, anchors.classes.index("OK")]
    defaults = {"method": "quantile", "false_alarms": 0.05, "calibration": "a lot"}
    rule = set_rule(to_good, None, **(defaults | settings))
    nearest = np.array(anchors.classes)[distances.argmin(axis=1)]
    labels = [f"b/{k:03}.png" for k in range(len(calibration))]
    return doubts_of_limit(rule, rule.score(to_good, None), nearest, anchors, "OK", labels)


def test_good_calibration_parts_call_for_no_doubt():
    assert asked(scattered(0, 40, seed=9), anchors_of(OK=0, bent=GAP)) == []
    assert asked(scattered(0, 40, seed=9), anchors_of(OK=0)) == []


def test_two_bent_parts_among_42_calibration_parts():
    calibration = np.concatenate([scattered(0, 40, seed=9), scattered(GAP, 2, seed=8)])
    astray, far, limit = asked(calibration, anchors_of(OK=0, bent=GAP), false_alarms=0.024)
    assert astray == (
        "2 of 42 calibration parts called 'OK' are nearest to another class: b/040.png (bent), "
        "b/041.png (bent); are they good?"
    )
    assert far.startswith("2 of 42 calibration parts called 'OK' lie far beyond the others, half ")
    assert "b/040.png (" in far
    assert "b/041.png (" in far
    assert "; they stretch the limit to " in far
    assert limit.startswith("the limit reaches ")


def test_two_bent_parts_are_far_even_if_nobody_knows_what_bent_is():
    calibration = np.concatenate([scattered(0, 40, seed=9), scattered(GAP, 2, seed=8)])
    (far,) = asked(calibration, anchors_of(OK=0))
    assert far.startswith("2 of 42 calibration parts called 'OK' lie far beyond the others")
    assert ", half of which score up to 1.9: b/040.png (18.4), b/041.png (17.7); all are " in far
    assert far.endswith("beyond the limit of 3.53")  # 5 % of 42 may be


def test_one_part_at_the_edge_is_not_far():
    """Of 41 scores the median is 2, and the upper quartile 3: far is beyond 2 + 10 · (3 - 2)."""
    scores = np.repeat([1.0, 2.0, 3.0, 0.0], [20, 10, 10, 1])
    anchors, names, labels = anchors_of(OK=0), np.full(41, "OK"), [f"{k}.png" for k in range(41)]
    for last, far in [(11.9, False), (12.1, True)]:
        scores[-1] = last
        rule = set_rule(scores, None, method="quantile", false_alarms=0.05, calibration="a lot")
        doubts = doubts_of_limit(rule, scores, names, anchors, "OK", labels)
        assert [doubt.startswith("1 of 41 ") for doubt in doubts] == [True] * far


def test_no_more_than_five_parts_are_named():
    calibration = np.concatenate([scattered(0, 40, seed=9), scattered(GAP, 8, seed=8)])
    astray, *_ = asked(calibration, anchors_of(OK=0, bent=GAP))
    assert "b/044.png (bent) and 3 more; are they good?" in astray
    assert "b/045.png" not in astray


@pytest.mark.parametrize(("gap", "doubted"), [(4, True), (5, True), (7, False), (9, False)])
def test_a_limit_beyond_half_the_way_to_another_class(gap, doubted):
    """The limit lies near 3, of which the spread of 4 directions explains 2."""
    calibration = scattered(0, 400, seed=9)
    calibration = calibration[calibration[:, 0] < 1.5]  # none is nearest to another class
    doubts = asked(calibration, anchors_of(OK=0, bent=gap), false_alarms=0.01)
    assert len(doubts) == doubted
    if doubted:
        assert doubts[0].startswith("the limit reaches 3.")
        told = float(doubts[0].split("(")[1].split(")")[0])
        assert told == pytest.approx(gap, rel=0.1)
        assert doubts[0].endswith("faint defects of it may pass")


def test_the_nearest_other_class_counts():
    calibration = scattered(0, 40, seed=9)
    assert asked(calibration, anchors_of(OK=0, bent=GAP, worn=GAP)) == []
    (doubt,) = asked(calibration[calibration[:, 0] < 1], anchors_of(OK=0, bent=GAP, worn=4))
    assert "to the nearest other class (4" in doubt


@pytest.mark.parametrize(
    ("parts", "share", "needed"),
    [(40, 0.025, None), (39, 0.025, 40), (199, 0.005, 200), (200, 0.005, None), (40, 0.0, "")],
)
def test_too_few_parts_to_tell_a_share(parts, share, needed):
    doubts = asked(scattered(0, parts, seed=9), anchors_of(OK=0), false_alarms=share)
    if needed is None:
        assert doubts == []
        return
    takes = f", which takes {needed}" if needed else ""
    assert doubts == [
        f"{parts} good calibration parts are too few to tell a share of {share:.2%}{takes}; the "
        "limit is the largest of their scores"
    ]


def test_a_share_of_one_part_is_told():
    for parts in range(1, 120):  # in floating point 49 · (1 / 49) is below 1
        calibration = scattered(0, parts, seed=9)
        assert asked(calibration, anchors_of(OK=0), false_alarms=0.999 / parts)
        if parts > 1:
            assert not asked(calibration, anchors_of(OK=0), false_alarms=1 / parts)


def test_other_limits_say_by_themselves_that_parts_are_too_few():
    calibration = scattered(0, 60, seed=9)
    for method in ("conformal", "tolerance"):
        assert asked(calibration, anchors_of(OK=0), method=method) == []


def test_calibration_parts_on_another_scale():
    """Calibration parts of 0 … 255 where training parts are of 0 … 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = rng.normal(labels[:, None, None, None], 0.05, (80, 1, 2, 2))
    train = ImageSet(images.astype(np.float32), labels, ("OK", "bent"), "drawn")
    calibration = ImageSet(255 * train.images[::2], labels[::2], ("OK", "bent"), "drawn")
    settings = {"good": "OK", "tiles": (1, 1), "false_alarms": 0.05}
    Station.of_encoder(nn.Flatten(), train, train, **settings)  # no doubt
    with pytest.raises(ValueError, match=r"training parts up to 1\..*on another scale"):
        Station.of_encoder(nn.Flatten(), train, calibration, **settings)


def parts_of(*places):
    """A part for each (lot, class, number), as if they lay in folders."""
    files, lots, names = [], [], []
    for lot, name, count in places:
        files += [Path(lot, name, f"{k:03}.png") for k in range(count)]
        lots += [lot] * count
        names += [name] * count
    return Parts(tuple(files), np.array(names), np.array(lots))


def test_parts_that_call_for_no_doubt():
    parts = parts_of(("mon", "OK", 9), ("tue", "OK", 9), ("mon", "bent", 5))
    assert doubts_of_parts(parts, parts, "OK") == []


def test_good_parts_of_one_lot():
    parts = parts_of(("mon", "OK", 9), ("mon", "bent", 5), ("tue", "bent", 5))
    (doubt,) = doubts_of_parts(parts, parts, "OK")
    assert doubt.startswith("there are good parts of one lot only: what the next lot will be like ")


def test_few_photographs_for_an_anchor():
    parts = parts_of(("mon", "OK", 9), ("tue", "OK", 9), ("mon", "bent", 4), ("tue", "worn", 1))
    doubts = doubts_of_parts(parts, parts, "OK")
    assert doubts == ["fewer than 5 photographs for an anchor: bent (4), worn (1)"]
    many = parts_of(("m", "OK", 9), ("t", "OK", 9), *(("m", f"defect {k}", 1) for k in range(7)))
    (doubt,) = doubts_of_parts(many, many, "OK")
    assert doubt.endswith("defect 4 (1) and 2 more")


def test_only_parts_that_are_learned_from_count():
    parts = parts_of(("mon", "OK", 9), ("tue", "OK", 9), ("mon", "bent", 9))
    train = parts.take(np.arange(18 + 3))
    assert doubts_of_parts(parts, train, "OK") == [
        "fewer than 5 photographs for an anchor: bent (3)"
    ]


def test_photographs_without_a_class():
    parts = parts_of(("mon", "OK", 9), ("tue", "OK", 9), ("mon", "", 4))
    train = parts.take(parts.names != "")
    (doubt,) = doubts_of_parts(parts, train, "OK")
    assert doubt == "4 of 22 photographs have no class and take no part"


def test_what_was_passed_over():
    parts = parts_of(("mon", "OK", 9), ("tue", "OK", 9))
    parts = Parts(parts.files, parts.names, parts.lots, ("3 × *.txt", "empty folder c"))
    assert doubts_of_parts(parts, parts, "OK") == [
        "passed over: 3 × *.txt",
        "passed over: empty folder c",
    ]


@pytest.mark.parametrize(
    "sizes", [[], [(640, 480)], [(640, 480), (1280, 960)], [(640, 480), (645, 480), (648, 480)]]
)
def test_proportions_that_are_alike(sizes):
    assert doubts_of_proportions(sizes) == []


def test_proportions_that_differ():
    (doubt,) = doubts_of_proportions([(640, 480), (480, 640), (640, 480), (600, 600)])
    assert doubt == (
        "photographs differ in their proportions, from 480 × 640 to 640 × 480 pixels: at one size "
        "they are distorted differently; crop them alike"
    )


@pytest.mark.parametrize(
    ("largest", "bits"),
    [
        ([], None),
        ([None, None], None),
        ([65535, 900], None),
        ([16384], None),  # more than 14 bits
        ([4095], 12),
        ([4095], 16),  # they are just dark, somebody said
    ],
)
def test_bits_that_are_as_they_should_be(largest, bits):
    check_bits(largest, bits)


@pytest.mark.parametrize(
    ("largest", "likely"),
    [([255], 8), ([1023, 12], 10), ([None, 4095, 4000], 12), ([4096], 14), ([16383], 14)],
)
def test_files_of_16_bits_that_hold_fewer(largest, likely):
    known = [value for value in largest if value is not None]
    words = (
        rf"^{len(known)} files of 16 bits hold values up to {max(known)}, .* like {likely} bits: "
        f"say bits={likely}, or bits=16 if they are just dark$"
    )
    with pytest.raises(ValueError, match=words):
        check_bits(largest, None)


def test_checks_that_turn_down_known_defects():
    names = np.array(["OK", "OK", "bent", "bent", "worn"])
    assert doubts_of_invalid(names, [""] * 5) == []
    doubts = doubts_of_invalid(names, ["", "", "", "too dark: …", ""])
    assert doubts == [
        "1 of 2 photographs of 'bent' would be INVALID (too dark: …): light and focus must not "
        "differ between classes"
    ]
    both = doubts_of_invalid(names, ["", "", "too dark: a", "too dark: b", "too blurred: c"])
    assert [doubt.split(":")[0] for doubt in both] == [
        "2 of 2 photographs of 'bent' would be INVALID (too dark",
        "1 of 1 photographs of 'worn' would be INVALID (too blurred",
    ]


def test_defects_that_pass():
    names, files = np.array(["bent", "worn", "bent"]), ["b/1.png", "w/1.png", "b/2.png"]
    assert doubts_of_defects(names, np.zeros(3, dtype=bool), files) == []
    assert doubts_of_defects(names[:0], np.zeros(0, dtype=bool), []) == []
    assert doubts_of_defects(names, np.array([False, True, True]), files) == [
        "2 of 3 defective parts that were kept aside pass: w/1.png (worn), b/2.png (bent)"
    ]


def test_a_new_anchor_far_from_good_parts():
    anchors = anchors_of(OK=0, bent=GAP).with_anchor("worn", scattered(-GAP, 5, seed=7))
    assert doubts_of_anchor("worn", anchors, "OK", 3.0, scattered(0, 100, seed=9)) == []
    assert doubts_of_anchor("worn", anchors, "OK", 3.0, np.empty((0, 4))) == []


def test_a_new_anchor_near_good_parts():
    anchors = anchors_of(OK=0, bent=GAP).with_anchor("faint", scattered(3, 5, seed=7))
    near, lost = doubts_of_anchor("faint", anchors, "OK", 3.0, scattered(0, 100, seed=9))
    gap = np.linalg.norm(anchors.points[-1] - anchors.points[anchors.names == "OK"])
    assert near.startswith("the anchor of 'faint' lies ")
    assert near.endswith("and the limit reaches 3: parts on the near side of it may pass")
    assert float(near.split()[5]) == pytest.approx(gap, rel=0.1)  # less what it may be wrong by
    distances = anchors.distances(scattered(0, 100, seed=9))
    count = (distances.argmin(axis=1) == anchors.classes.index("faint")).sum()
    assert count > 0
    assert lost == (
        f"{count} of 100 good calibration parts are nearer to the anchor of 'faint' than to their "
        "own: they would be stopped"
    )


@pytest.mark.parametrize(("reach", "doubted"), [(2, False), (9, False), (11, True), (20, True)])
def test_a_new_anchor_within_twice_the_reach(reach, doubted):
    anchors = anchors_of(OK=0).with_anchor("worn", scattered(GAP, 5, seed=7))
    assert bool(doubts_of_anchor("worn", anchors, "OK", reach, np.empty((0, 4)))) == doubted
