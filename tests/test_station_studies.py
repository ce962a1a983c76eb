"""Figures of an audit: what they count, by hand; what they are, as the quality functions say."""

import numpy as np
import pandas as pd
import pytest

from snnlib.quality.acceptance import parts_to_test, upper_bound
from snnlib.quality.agreement import agreement, cohen_kappa
from snnlib.quality.detection import DetectionCurve, detection_curve
from snnlib.station.sheets import STATION, Ratings
from snnlib.station.studies import (
    FAILED,
    PASSED,
    TOO_FEW,
    Plan,
    acceptance_test,
    agreement_with_station,
    detection_by_class,
    doubts_of_agreement,
    doubts_of_detection,
)


def shots(good, wrong, part=None, true=None, amount=np.nan):
    good = np.array(good, dtype=bool)
    return pd.DataFrame(
        {
            "part": range(len(good)) if part is None else part,
            "true": np.where(good, "OK", "dent") if true is None else true,
            "good": good,
            "wrong": np.array(wrong, dtype=bool),
            "amount": amount,
        }
    )


def of_defects(parts, escapes):
    return shots([False] * parts, np.arange(parts) < escapes)


@pytest.mark.parametrize(
    ("parts", "escapes", "allowed", "result"),
    [
        (59, 0, 0, PASSED),
        (58, 0, 0, TOO_FEW),
        (59, 1, 0, FAILED),
        (1000, 1, 0, FAILED),  # though 1 of 1000 proves it: the plan was another
        (10, 1, 0, FAILED),
        (93, 1, 1, PASSED),
        (92, 1, 1, TOO_FEW),
        (93, 2, 1, FAILED),
        (0, 0, 0, TOO_FEW),
    ],
)
def test_a_test_is_passed_as_it_was_planned(parts, escapes, allowed, result):
    (row,) = acceptance_test(Plan(0.05, None, allowed), of_defects(parts, escapes)).itertuples()
    assert row.Index == "escapes"
    assert (row.most, row.allowed, row.parts, row.failures) == (0.05, allowed, parts, escapes)
    assert row.needed == parts_to_test(0.05, allowed=allowed)
    assert row.bound == (upper_bound(escapes, parts) if parts else 1)
    assert row.result == result


def test_both_are_tested_and_a_part_is_counted_once():
    """Three defective parts on five shots, one of which passes; two good ones on three."""
    table = shots([False] * 5 + [True] * 3, [0, 1, 0, 0, 0, 0, 0, 1], part=[4, 4, 5, 6, 6, 1, 1, 2])
    found = acceptance_test(Plan(0.5, 0.7), table)
    assert found.index.tolist() == ["escapes", "false alarms"]
    assert found.parts.tolist() == [3, 2]
    assert found.failures.tolist() == [1, 1]
    assert found.needed.tolist() == [parts_to_test(0.5), parts_to_test(0.7)]
    alarms = acceptance_test(Plan(most_false_alarms=0.7, allowed=1), table)
    assert alarms.index.tolist() == ["false alarms"]
    assert alarms.result.tolist() == [TOO_FEW]


@pytest.mark.parametrize(
    ("plan", "error", "complaint"),
    [
        ({}, ValueError, "needs the most escapes, or the most false alarms"),
        ({"allowed": 1}, ValueError, "needs the most escapes"),
        ({"most_escapes": 5}, ValueError, "the most escapes must be a share .* 0.05, got 5"),
        ({"most_false_alarms": 0.0}, ValueError, "the most false alarms must be"),
        ({"most_false_alarms": float("nan")}, ValueError, "got nan"),
        ({"most_escapes": 0.1, "allowed": -1}, ValueError, "allowed must be a number of parts"),
        ({"most_escapes": 0.1, "allowed": 0.5}, TypeError, "float"),
    ],
)
def test_plans_that_can_not_be(plan, error, complaint):
    with pytest.raises(error, match=complaint):
        Plan(**plan)


AMOUNTS = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
MISSED = np.array([1, 1, 0, 1, 1, 0, 0, 1, 0, 0])


def test_curves_are_those_of_parts_with_an_amount():
    """A good part with an amount, and a defective one without, are left out."""
    table = pd.concat(
        [
            shots([False] * 10, MISSED, amount=AMOUNTS),
            shots([True, False], [0, 0], part=[10, 11], amount=[3, np.nan]),
            shots([False] * 3, [0, 0, 0], part=[12, 13, 14], true="burr", amount=1),
            shots([False], [0], part=[15], true="stain"),
        ]
    )
    found = detection_by_class(table)
    assert [*found] == ["burr", "dent"]
    assert found["burr"] == "expected at least 10 parts, got 3"
    expected, curve = detection_curve(AMOUNTS, MISSED == 0), found["dent"]
    assert isinstance(curve, DetectionCurve)
    assert (curve.a50, curve.a90, curve.a90_95) == (expected.a50, expected.a90, expected.a90_95)
    told = list(doubts_of_detection(table, found))
    assert (
        told[0] == "there is no probability of detection of burr: expected at least 10 parts, got 3"
    )
    assert told[1].startswith("the amount of 1 of 11 parts of dent is not known: they are left out")
    assert detection_by_class(table[table.good]) == {}


def test_shots_of_a_part_are_one_hit_or_miss():
    """Each part has two shots: the first tells the amount, the second alone may pass."""
    table = shots(
        [False] * 20,
        np.concatenate([np.zeros(10), MISSED]),
        part=[*range(10), *range(10)],
        amount=[*AMOUNTS, *[np.nan] * 10],
    )
    curve = detection_by_class(table)["dent"]
    assert curve.amounts.tolist() == AMOUNTS.tolist()
    assert curve.hits.tolist() == (MISSED == 0).tolist()
    assert not any("not known" in doubt for doubt in doubts_of_detection(table, {"dent": curve}))


def test_an_open_end_is_doubted():
    missed = [0, 1, 0, 1, 0, 0, 1, 0, 0, 0]
    table = shots([False] * 10, missed, amount=AMOUNTS)
    found = detection_by_class(table)
    assert found["dent"].a90_95 == np.inf
    (doubt,) = doubts_of_detection(table, found)
    assert doubt.startswith("whether dent is found the more often the larger it is, 10 parts leave")


# Four parts, two of them good; two inspectors, two trials. Bob passes the third part once.
SAID = np.array([[[1, 1], [1, 1]], [[1, 1], [1, 1]], [[0, 0], [1, 0]], [[0, 0], [0, 0]]], bool)
REFERENCE = ["good", "good", "not good", "not good"]


def rated(*of_parts):
    return Ratings(tuple(map(np.array, of_parts)), ("Ann", "Bob"), SAID)


def named(passes):
    return np.where(passes, "good", "not good")


def test_a_station_of_one_shot_is_no_inspector():
    """It stops the second part and passes the fourth: right on two of four, as by chance."""
    ratings, table = rated([3], [2], [1], [0]), shots([0, 0, 1, 1], [1, 0, 1, 0])
    study, kappa = agreement_with_station(ratings, table, np.arange(4))
    expected = agreement(named(SAID), REFERENCE, ["Ann", "Bob"], good="good")
    assert study.within.equals(expected.within)
    assert study.against.equals(expected.against)
    assert (study.share, study.kappa) == (expected.share, expected.kappa)
    assert study.against.misses.tolist() == [0, 1 / 4]
    assert kappa == cohen_kappa(named([True, False, False, True]), REFERENCE)
    assert kappa.value == 0
    few, repeated = doubts_of_agreement(ratings, table, kappa)
    assert few.startswith("4 parts in 2 trials are few to tell how well inspectors agree")
    assert repeated.startswith("whether the station says the same of a part again was not tested")


def test_a_station_of_several_shots_is_an_inspector():
    """The third shot of the first part does not matter; it passes one shot of the last part."""
    ratings = rated([0, 1, 2], [3, 4], [5, 6], [7, 8])
    table = shots([1] * 5 + [0] * 4, [0, 0, 1, 0, 0, 0, 0, 0, 1])
    study, kappa = agreement_with_station(ratings, table, np.arange(9))
    assert kappa is None
    own = named([[True, True], [True, True], [False, False], [False, True]])
    said = np.concatenate([named(SAID), own[:, None]], axis=1)
    expected = agreement(said, REFERENCE, ["Ann", "Bob", STATION], good="good")
    assert study.within.equals(expected.within)
    assert study.against.equals(expected.against)
    assert study.within.share[STATION] == 3 / 4
    assert len(list(doubts_of_agreement(ratings, table, None))) == 1


def test_copies_are_no_trials():
    ratings = rated([0, 1], [2, 3], [4, 5], [6, 7])
    table = shots([1] * 4 + [0] * 4, [0] * 8)
    content = np.array([0, 1, 2, 2, 4, 5, 6, 7])
    study, kappa = agreement_with_station(ratings, table, content)
    assert STATION not in study.within.index
    assert kappa.value == 1


def test_where_all_parts_are_good():
    ratings, table = rated([0], [1], [2], [3]), shots([1] * 4, [0] * 4)
    study, kappa = agreement_with_station(ratings, table, np.arange(4))
    assert np.isnan(kappa.value)
    assert study.against.misses.isna().all()
    told = list(doubts_of_agreement(ratings, table, kappa))
    assert "all 4 parts rated are good: nothing is known of misses of inspectors" in told
    bad = shots([0] * 4, [0] * 4)
    assert any(
        "all 4 parts rated are defective" in d for d in doubts_of_agreement(ratings, bad, kappa)
    )


def test_a_large_study_leaves_no_doubt():
    passes = np.tile(np.arange(50) % 2 == 0, (2, 3, 1)).transpose(2, 0, 1)
    ratings = Ratings(tuple(np.arange(50)[:, None]), ("Ann", "Bob"), passes)
    assert list(doubts_of_agreement(ratings, shots(np.arange(50) % 2, [0] * 50), None)) == []
