"""What a station says of labelled photographs is counted as plain loops count it."""

import shutil
from math import comb

import numpy as np
import pandas as pd
import pytest
from drawn_parts import frames, write, write_lots
from qualified_parts import CHIPPED, ODD, label, label_amounts, rate, small_station

from snnlib.evaluation import escapes, false_alarms, proportion
from snnlib.quality.agreement import cohen_kappa
from snnlib.quality.detection import detection_curve
from snnlib.quality.lots import proportion_by_lot
from snnlib.station.exporting import export_station
from snnlib.station.judging import load_judge
from snnlib.station.parts import Parts
from snnlib.station.provenance import provenance
from snnlib.station.qualification import Qualification, qualify
from snnlib.station.studies import FAILED, PASSED, TOO_FEW, Plan
from snnlib.station.verdict import INVALID, UNKNOWN


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    return tmp_path_factory.mktemp("learned")


@pytest.fixture(scope="module")
def station(learned):
    return small_station(learned)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    return label(tmp_path_factory.mktemp("labelled"))


@pytest.fixture(scope="module")
def found(station, labelled):
    return qualify(station, Parts.read(labelled))


def where(found, ending):
    """Position of the file whose name ends so."""
    (position,) = np.flatnonzero([file.endswith(ending) for file in found.table.file])
    return position


def test_the_table_is_that_of_judging(found, station, labelled):
    parts, judged = Parts.read(labelled), station.judge(labelled)
    assert isinstance(found, Qualification)
    assert found.table.columns[:3].tolist() == ["file", "true", "lot"]
    assert found.table.true.tolist() == parts.names.tolist()
    assert found.table.lot.tolist() == parts.lots.tolist()
    assert found.table.verdict.tolist() == judged.verdict.tolist()
    assert found.judged["data"] == provenance(parts)["data"]


def test_the_figures_are_those_of_evaluation(found):
    table = found.table
    bad, passes = table.true != "OK", table.verdict == "OK"
    assert found.escapes == proportion_by_lot(passes[bad], table.lot[bad])
    assert found.false_alarms == proportion_by_lot(~passes[~bad], table.lot[~bad])
    for figure in (escapes, false_alarms):
        of_all = figure(table.true, table.verdict).value
        assert getattr(found, figure.__name__).value == of_all
    assert found.escapes.value >= 3 / 19
    assert found.by_kind.errors.tolist() == [
        sum(table.verdict[table.true != "OK"] == "OK"),
        sum(table.verdict[table.true == "OK"] != "OK"),
    ]
    assert found.by_kind.low.tolist() == [found.escapes.low, found.false_alarms.low]


def test_confusion_by_a_loop(found):
    assert found.confusion.index.tolist() == ["OK", "dent", ODD, "バリ"]
    columns = [
        "OK",
        "dent",
        "バリ",
        *[w for w in (UNKNOWN, INVALID) if w in set(found.table.verdict)],
    ]
    assert found.confusion.columns.tolist() == columns
    pairs = list(zip(found.table.true, found.table.verdict))
    for name, row in found.confusion.iterrows():
        assert row.tolist() == [pairs.count((name, verdict)) for verdict in columns]
    assert found.confusion.to_numpy().sum() == len(found.table)


def test_lots_and_classes_by_a_loop(found):
    wrong = (found.table.verdict == "OK") != (found.table.true == "OK")
    for (lot, good), row in found.by_lot.iterrows():
        there = wrong[(found.table.lot == lot) & ((found.table.true == "OK") == good)]
        estimate = proportion(there.sum(), len(there))
        assert [row.parts, row.errors] == [len(there), there.sum()]
        assert [row.share, row.low, row.high] == [estimate.value, estimate.low, estimate.high]
    assert found.by_lot.index.tolist() == [("c", False), ("c", True), ("d", False), ("d", True)]
    assert found.by_class.index.tolist() == ["OK", "dent", ODD, "バリ"]
    for name, row in found.by_class.iterrows():
        of_class = found.table[found.table.true == name]
        assert [row.parts, row.errors] == [len(of_class), wrong[of_class.index].sum()]
        assert row.named == sum(of_class.verdict == name)
        assert row.lots == len(set(of_class.lot))
    assert found.by_class.low["OK"] == found.false_alarms.low


def test_each_error_is_in_one_list(found):
    assert list(found.errors) == ["escape", "false alarm", "wrong name", "not judged"]
    everywhere = np.concatenate(list(found.errors.values())).tolist()
    assert len(everywhere) == len(set(everywhere))
    right = (found.table.verdict == found.table.true) | (found.table.true == ODD)
    assert set(everywhere) == set(np.flatnonzero(~right))
    assert {where(found, f"dent/10{k}.png") for k in range(3)} == set(found.errors["escape"])
    assert {where(found, f"OK/10{k}.png") for k in range(2)} <= set(found.errors["false alarm"])
    assert where(found, "バリ/100.png") in found.errors["wrong name"]
    assert where(found, CHIPPED) in found.errors["not judged"]


def test_what_is_not_judged_is_stopped(found):
    position = where(found, CHIPPED)
    assert found.table.verdict[position] == INVALID
    stopped = sum(found.table.verdict[found.table.true == "OK"] != "OK")
    assert stopped == found.by_class.errors["OK"] > len(found.errors["false alarm"])
    assert found.by_class.not_judged["OK"] == found.by_lot.not_judged["d", True] == 1


def test_a_class_that_is_not_known_can_not_be_named(found):
    of_class = found.table[found.table.true == ODD]
    assert (of_class.verdict != "OK").all()
    assert not set(of_class.index) & set(np.concatenate(list(found.errors.values())))
    assert found.by_class.errors[ODD] == found.by_class.named[ODD] == 0
    assert any(doubt.startswith(f"the station does not know {ODD}") for doubt in found.doubts)


def test_limit_samples_lie_nearest_to_the_limit(found, station):
    scores = {k: score for k, score in enumerate(found.table.score) if np.isfinite(score)}
    within = sorted((s, k) for k, s in scores.items() if s <= station.limit)
    beyond = sorted((s, k) for k, s in scores.items() if s > station.limit)
    assert found.limit_samples.tolist() == [k for _, k in within[-4:] + beyond[:4]]
    assert len(found.limit_samples) == 8


def test_bounds_are_where_so_few_escapes_become_unlikely(found):
    """By the sum of binomial chances."""
    assert found.proofs.kind.tolist() == ["", "dent", ODD, "バリ"]
    assert found.proofs.escapes[0] == found.by_kind.errors[False]
    assert found.proofs.parts[0] == found.proofs.parts[1:].sum() == found.by_kind.parts[False]
    for row in found.proofs.itertuples():
        chance = sum(
            comb(row.parts, k) * row.bound**k * (1 - row.bound) ** (row.parts - k)
            for k in range(row.escapes + 1)
        )
        assert chance == pytest.approx(0.05)


def test_parts_enough_of_two_lots_leave_no_doubt(station, tmp_path):
    counts = {(lot, kind): 30 for lot in "cd" for kind in ("OK", "dent")}
    clear = qualify(station, Parts.read(write_lots(tmp_path, counts, seed=8)))
    assert clear.doubts == ()
    hits = (clear.table.verdict != "OK")[clear.table.true == "OK"]
    assert clear.false_alarms == proportion_by_lot(hits, clear.table.lot[clear.table.true == "OK"])


def doubts(station, folder):
    return qualify(station, Parts.read(folder)).doubts


def test_parts_that_the_station_was_made_from(station, learned, tmp_path):
    write_lots(tmp_path, {("c", "OK"): 3}, seed=5)
    shutil.copy(learned / "a" / "OK" / "003.png", tmp_path / "c" / "OK" / "other.png")
    first, *others = doubts(station, tmp_path)
    assert first.startswith("the station was made from 1 of the 4 parts judged: the figures look")
    assert not any("made from" in doubt for doubt in others)
    assert "made from 68 of the 68 parts" in doubts(station, learned)[0]


def test_good_parts_of_one_lot_tell_little(station, tmp_path):
    write_lots(tmp_path, {("c", "OK"): 8}, seed=5)
    found = qualify(station, Parts.read(tmp_path))
    assert found.escapes is None
    assert found.by_kind.index.tolist() == [True]
    assert found.proofs.parts.tolist() == [0]
    assert found.false_alarms == proportion(sum(found.table.verdict != "OK"), 8)
    no_defect, one_lot, few = found.doubts
    assert no_defect == "no part is defective: nothing is known of escapes"
    assert one_lot.startswith("all 8 parts that are good ('OK') are of one lot (c): the interval")
    assert few.startswith("8 parts that are good ('OK') are few: it takes 59 without one false")


def test_defects_alone_whose_lot_is_not_known(station, tmp_path):
    write(tmp_path / "dent", frames(4, 3, "dent"))
    found = qualify(station, Parts.read(tmp_path))
    assert found.false_alarms is None
    assert found.escapes == proportion(0, 4)  # though nothing is called good
    told = " | ".join(found.doubts)
    assert "no part is good ('OK'): nothing is known of false alarms" in told
    assert "all 4 parts that are defective are of lots without a name" in told
    assert "fewer than 5 parts of a kind tell little of it: dent (4)" in told


def test_copies_lots_without_a_name_and_what_is_passed_over(station, tmp_path):
    write_lots(tmp_path, {("c", "OK"): 3, ("c", "dent"): 2}, seed=5)
    shutil.copy(tmp_path / "c" / "OK" / "000.png", tmp_path / "c" / "OK" / "again.png")
    write(tmp_path / "OK", frames(2, 9))
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    told = doubts(station, tmp_path)
    assert "copies of other photographs judged: 1; each counts as a part of its own" in told
    assert "parts without a lot: 2; they are taken for one of their own" in told
    assert told[-1] == "passed over: notes.txt"


def test_parts_without_a_class_are_refused(station, tmp_path):
    write(tmp_path, frames(2, 9))
    with pytest.raises(ValueError, match=r"2 of 2 .*000\.png: put each into the folder of its"):
        qualify(station, Parts.read(tmp_path))


def test_its_onnx_file_is_qualified_alike(station, labelled, found, tmp_path):
    export_station(station, tmp_path / "cell.onnx")
    again = qualify(load_judge(tmp_path / "cell.onnx"), Parts.read(labelled))
    assert again.table.columns.tolist() == found.table.columns.tolist()
    assert again.table.verdict.tolist() == found.table.verdict.tolist()
    assert again.confusion.equals(found.confusion)
    assert again.by_lot.equals(found.by_lot)
    assert (again.escapes, again.false_alarms) == (found.escapes, found.false_alarms)
    assert again.limit_samples.tolist() == found.limit_samples.tolist()
    assert again.doubts == found.doubts


def test_what_an_onnx_file_was_made_from_is_known(station, learned, tmp_path):
    export_station(station, tmp_path / "cell.onnx")
    again = qualify(load_judge(tmp_path / "cell.onnx"), Parts.read(learned))
    assert again.doubts[0].startswith("the station was made from 68 of the 68 parts judged")


def test_nothing_is_told_that_was_not_asked_for(found):
    assert found.acceptance is found.agreement is found.kappa is None
    assert found.detection == {}
    assert found.shots.part.nunique() == len(found.table)
    assert found.shots.wrong.sum() == found.by_kind.errors.sum()
    assert not found.passes


def test_an_audit(station, tmp_path):
    """A sheet tells amounts, inspectors rate twelve parts, and a test was planned before."""
    sheet, plan = label_amounts(tmp_path), Plan(0.5, 0.3)
    parts = Parts.read(tmp_path)
    found = qualify(station, parts, sheet=sheet, ratings=rate(tmp_path), plan=plan)
    hits = (found.table.verdict != "OK")[found.table.true == "dent"].to_numpy()
    curve, expected = found.detection["dent"], detection_curve(sheet.amount, hits)
    assert 3 <= sum(~hits) <= 9  # good parts in the folder of dents
    assert (curve.a50, curve.a90, curve.a90_95) == (expected.a50, expected.a90, expected.a90_95)
    escaped, alarms = found.acceptance.result
    assert found.acceptance.failures.tolist() == [sum(~hits), found.by_kind.errors[True]]
    assert escaped == FAILED
    assert alarms == (FAILED if found.by_kind.errors[True] else PASSED)
    rated = found.table.iloc[-12:]
    good, passes = ((rated[name] == "OK").map({True: 1, False: 0}) for name in ("true", "verdict"))
    assert found.kappa == cohen_kappa(passes, good)
    assert found.agreement.within.share.to_dict() == {"Ann": 1, "Bob": 11 / 12}
    assert found.agreement.against.misses.to_dict() == {"Ann": 0, "Bob": 1 / (3 * sum(1 - good))}
    told = " | ".join(found.doubts)
    assert "12 parts in 3 trials are few to tell" in told
    assert "whether the station says the same of a part again was not tested" in told
    assert "are few: it takes 59" not in told  # the plan tells how many it takes
    assert not found.passes


def test_shots_of_a_part_count_once_and_are_trials(station, tmp_path):
    """Every part has two shots, and inspectors judge it twice; one escapes by its second shot."""
    write_lots(tmp_path, {("c", "OK"): 12, ("c", "dent"): 11, ("d", "OK"): 12}, seed=7)
    write(tmp_path / "c" / "dent", frames(1, 72), first=11)
    parts = Parts.read(tmp_path)
    sheet = pd.DataFrame({"file": list(map(str, parts.files)), "part": np.arange(len(parts)) // 2})
    rows = [(k, who, t) for who in ("Ann", "Bob") for t in (1, 2) for k in range(len(parts) // 2)]
    ratings = pd.DataFrame(rows, columns=["part", "inspector", "trial"])
    ratings["verdict"] = parts.names[2 * ratings.part]
    plan = Plan(most_escapes=0.05)
    found = qualify(station, parts, sheet=sheet, ratings=ratings, plan=plan)
    assert found.acceptance.parts.tolist() == [6]
    assert found.acceptance.failures.tolist() == [1]
    assert found.kappa is None
    assert found.agreement.within.index.tolist() == ["Ann", "Bob", "station"]
    assert found.agreement.against.share.to_list()[:2] == [1, 1]
    passes = (found.table.verdict == "OK").to_numpy().reshape(-1, 2)
    alike = np.mean(passes[:, 0] == passes[:, 1])
    assert found.agreement.within.share["station"] == pytest.approx(alike) != 1
    assert not any("same of a part again" in doubt for doubt in found.doubts)
    left_out = "the sheet names no part for 2 of 36 photographs: each counts as a part of its own"
    assert left_out not in found.doubts
    assert left_out in qualify(station, parts, sheet=sheet[2:]).doubts


def test_a_test_that_is_passed_allows_for_escapes(station, tmp_path):
    """Two lots of each kind and parts enough: nothing is doubted, and the plan decides."""
    counts = {(lot, kind): 30 for lot in "cd" for kind in ("OK", "dent")}
    write_lots(tmp_path, counts, seed=8)
    write(tmp_path / "c" / "dent", frames(1, 72), first=29)
    parts = Parts.read(tmp_path)
    for plan, result, passes in [
        (None, None, False),
        (Plan(most_escapes=0.1, allowed=1), PASSED, True),
        (Plan(most_escapes=0.05, allowed=1), TOO_FEW, False),
        (Plan(most_escapes=0.1), FAILED, False),
        (Plan(most_false_alarms=0.5, allowed=15), PASSED, False),  # it says nothing of the escape
    ]:
        found = qualify(station, parts, plan=plan)
        assert found.doubts == ()
        assert result is None or found.acceptance.result.tolist() == [result]
        assert found.passes == passes


def test_tables_are_refused_before_anything_is_judged(labelled):
    """There is no station, which would be asked."""

    class Unasked:
        good = "OK"

    sheet = pd.DataFrame({"file": ["nowhere.png"], "amount": [1]})
    with pytest.raises(ValueError, match=r"row 2 of the sheet is 'nowhere\.png', which is none of"):
        qualify(Unasked(), Parts.read(labelled), sheet=sheet)
    ratings = pd.DataFrame({"part": ["a"]})
    with pytest.raises(ValueError, match="there is no column inspector in the ratings"):
        qualify(Unasked(), Parts.read(labelled), ratings=ratings)
