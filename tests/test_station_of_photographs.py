"""The station from a folder of photographs to verdicts: all the way, and all that may go wrong."""

import random
import re
import threading
import warnings
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from drawn_parts import draw, frames, write, write_lots
from PIL import Image
from scipy import ndimage
from torch import nn

from snnlib.backbones import pretrained, small_cnn
from snnlib.station.features import EmbeddingFeatures, MapFeatures
from snnlib.station.learning import blank_head, fine_tuned, from_scratch, with_head
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation
from snnlib.station.saving import load_station, save_station
from snnlib.station.station import Station
from snnlib.station.station_file import read_station_file
from snnlib.station.verdict import INVALID, UNKNOWN, Verdict

NUMBERS = ["score", "distance", "second_distance", "to_good", "strangest"]
WORDS = ["verdict", "nearest", "second", "why"]
LOTS = {
    ("a", "OK"): 30,
    ("a", "dent"): 8,
    ("a", "scratch"): 8,
    ("b", "OK"): 20,
    ("c", "OK"): 20,
    ("c", "dent"): 6,
    ("c", "scratch"): 6,
}
ONE_LOT = "there are good parts of one lot only"


def fit(parts, *doubts, **settings):
    """A station, whose doubts are told and are those expected, by words that are in them."""
    defaults = {"size": 64, "false_alarms": 0.05, "progress": False}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        station = Station.fit(parts, **(defaults | settings))
    told = [str(warning.message) for warning in caught]
    assert all(warning.category is UserWarning for warning in caught)
    assert all(warning.filename == __file__ for warning in caught)  # told where it was asked
    assert tuple(told) == station.doubts
    assert len(told) == len(doubts), told
    for words, doubt in zip(doubts, told):
        assert words in doubt
    return station


def assert_alike(one, other, rtol=1e-3):
    """Whether verdicts are the same; last digits depend on how many were looked at at once."""
    assert one.columns.tolist() == other.columns.tolist()
    for column in WORDS:
        assert one[column].tolist() == other[column].tolist()
    numbers = [column for column in NUMBERS if column in one]
    np.testing.assert_allclose(one[numbers], other[numbers], rtol=rtol)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_lots(tmp_path_factory.mktemp("parts"), LOTS)


@pytest.fixture(scope="module")
def station(folder):
    return fit(folder)


@pytest.fixture(scope="module")
def new():
    """Ten new parts of each kind, as frames of a camera; none of them is near the limit."""
    kinds = ("OK", "dent", "scratch")
    return np.concatenate([frames(10, (17, k), kind) for k, kind in enumerate(kinds)])


# The whole way


def test_from_a_folder_to_verdicts(station, new, tmp_path):
    files = write(tmp_path / "new", new)
    table = station.judge(tmp_path / "new")
    assert table.columns.tolist() == [
        "file", "verdict", "score", "nearest", "distance", "second", "second_distance", "to_good",
        "strangest", "ms", "why",
    ]  # fmt: skip
    assert table.index.tolist() == list(range(30))
    assert table.file.tolist() == [str(file) for file in files]  # they need no class folders
    assert (table.verdict[:10] == "OK").sum() >= 8
    assert (table.verdict[10:20] == "dent").all()
    assert (table.verdict[20:] == "scratch").all()
    assert (table.score[:10][table.verdict[:10] == "OK"] <= station.limit).all()
    assert (table.score[10:] > station.limit).all()
    assert (table.why == "").all()
    assert (table.ms > 0).all()
    for row in table.itertuples():
        assert row.nearest != row.second
        assert row.distance < row.second_distance
        scaled = (
            row.to_good / station.rule.distance_scale,
            row.strangest / station.rule.strange_scale,
        )
        assert row.score == pytest.approx(max(scaled))


def test_what_a_station_was_made_of(station, folder):
    assert station.doubts == ()
    assert station.rule.calibration == "20 good parts of lot 'c'"
    assert (station.rule.parts, station.rule.method) == (20, "quantile")
    assert station.anchors.classes == ["OK", "dent", "scratch"]
    assert station.shape == (3, 64, 64)
    assert len(station.witnesses) == 20
    words = r"Station\(3 classes, 'OK' up to [\d.]+, limit from 20 good parts of lot 'c'\)"
    assert re.fullmatch(words, repr(station))
    of_lot = station.judge(folder / "c" / "OK")
    assert (of_lot.verdict != "OK").sum() == 1  # 5 % of 20
    assert np.sort(of_lot.score)[-2] == pytest.approx(station.limit, rel=1e-3)


def test_another_lot_sets_the_limit_if_it_is_named(folder):
    other = fit(folder, calibration="a", false_alarms=0.1)
    assert other.rule.calibration == "30 good parts of lot 'a'"
    assert other.anchors.classes == ["OK", "dent", "scratch"]
    assert (other.judge(folder / "a" / "OK").verdict != "OK").sum() == 3


def test_the_same_folder_makes_the_same_station_and_leaves_chance_alone(folder, station, new):
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    again = fit(Parts.read(folder))
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    assert again.rule == station.rule
    assert_alike(again.judge(new), station.judge(new), rtol=1e-6)


def test_the_order_in_which_files_are_given_is_kept(station, new, tmp_path):
    files = write(tmp_path, new[[3, 12, 25]])
    for source in [files[::-1], [str(file) for file in files[::-1]], iter(files[::-1])]:
        table = station.judge(source)
        assert table.file.tolist() == [str(file) for file in files[::-1]]
        assert table.verdict.tolist() == ["scratch", "dent", "OK"]
    parts = Parts.of(files, name="any")
    assert station.judge(parts).verdict.tolist() == ["OK", "dent", "scratch"]


def test_one_by_one_as_in_a_batch_and_frames_as_files(station, new, tmp_path):
    files = write(tmp_path, new)
    in_a_batch = station.judge(files)
    one_by_one = pd.concat([station.judge(file) for file in files], ignore_index=True)
    assert_alike(one_by_one, in_a_batch)
    assert_alike(station.judge(new), in_a_batch.drop(columns="file"))
    grey = new.mean(axis=3).astype(np.uint8)
    of_grey = station.judge(grey)
    assert_alike(station.judge(np.repeat(grey[..., None], 3, axis=3)), of_grey, rtol=1e-5)


def test_explained_as_it_is_judged(station, new, tmp_path):
    files = write(tmp_path, new[[0, 10, 20]])
    table = station.judge(files)
    for file, frame, row in zip(files, new[[0, 10, 20]], table.itertuples()):
        for verdict in (station.explain(file), station.explain(str(file)), station.explain(frame)):
            assert isinstance(verdict, Verdict)
            assert (verdict.name, verdict.passes) == (row.verdict, row.verdict == "OK")
            assert (verdict.nearest, verdict.second) == (row.nearest, row.second)
            found = verdict.score, verdict.distance, verdict.second_distance
            assert found == pytest.approx((row.score, row.distance, row.second_distance), rel=1e-3)
            assert verdict.limit == station.limit
            assert verdict.why == ""
            assert not verdict.tiled
            assert (verdict.place is None) == verdict.passes
            np.testing.assert_allclose(verdict.seen, frame.transpose(2, 0, 1) / 255, atol=1e-6)
            assert verdict.heat.shape == (8, 8)  # a place for 8 × 8 pixels
            strangest = row.strangest / station.rule.strange_limit
            assert verdict.heat.max() == pytest.approx(strangest, rel=1e-3)


@pytest.mark.parametrize("at", [(20, 44), (44, 20), (12, 12), (36, 52)])
def test_a_dent_is_where_the_heat_says(station, at):
    verdict = station.explain(frames(1, 5, "dent", at=at)[0])
    column, row = verdict.place
    assert abs(column - 0.5 - at[0] / 8) <= 1
    assert abs(row - 0.5 - at[1] / 8) <= 1
    assert verdict.heat[row - 1, column - 1] == verdict.heat.max() > 2
    assert repr(verdict).endswith(f"; place ({column}, {row}))")


def test_five_photographs_of_a_defect_teach_it(station, new):
    stains = frames(15, 7, "stain")
    verdicts = station.judge(stains).verdict
    assert (verdicts != "OK").all()  # stopped, if not known
    assert (verdicts == UNKNOWN).mean() > 0.6  # some lie a little nearer to a scratch
    taught = station.with_defect("stain", stains[:5])
    assert taught.doubts == ()
    assert (taught.judge(stains[5:]).verdict == "stain").all()
    kept = ["verdict", "score", "nearest", "to_good"]
    pd.testing.assert_frame_equal(taught.judge(new)[kept], station.judge(new)[kept])
    assert "stain" not in station.anchors.classes


def test_five_files_of_a_defect_teach_it_by_any_spelling(station, tmp_path):
    as_one, as_two = "\u00d6l", "O\u0308l"
    write(tmp_path / "five", frames(5, 7, "stain"))
    taught = station.with_defect(as_two, tmp_path / "five")
    assert as_one in taught.anchors.classes
    assert (taught.judge(frames(10, 8, "stain")).verdict == as_one).all()
    for spelled in (as_one, as_two):
        with pytest.raises(ValueError, match=f"'{as_one}' has an anchor already"):
            taught.with_defect(spelled, tmp_path / "five")
    for name in ("unknown", "Invalid"):
        with pytest.raises(ValueError, match=f"no class may be named '{name}'"):
            station.with_defect(name, tmp_path / "five")


def test_good_parts_that_are_taught_as_a_defect_are_doubted(station):
    with (
        pytest.warns(UserWarning, match=r"the anchor of 'faint' lies .* may pass"),
        pytest.warns(UserWarning, match=r"of 20 good calibration parts .* would be stopped"),
    ):
        taught = station.with_defect("faint", frames(5, 3))
    assert len(taught.doubts) == 2


def test_a_defect_that_would_be_invalid_is_not_taught(station):
    dark = frames(5, 7, "stain")
    dark[3] //= 3
    with pytest.raises(ValueError, match="photograph 3 of 'stain' would be INVALID: too dark"):
        station.with_defect("stain", dark)


def test_a_station_comes_back(station, new, tmp_path):
    taught = station.with_defect("stain", frames(5, 7, "stain"))
    parts = np.concatenate([new, frames(5, 8, "stain"), new[:1] // 3])
    for kept in (station, taught, replace(station, doubts=("one", "another"))):
        save_station(kept, tmp_path / "cell.station")
        again = load_station(tmp_path / "cell.station")
        assert_alike(again.judge(parts), kept.judge(parts), rtol=1e-6)
        assert again.judge(parts).verdict.iloc[-1] == INVALID
        for name in ("preparation", "shape", "good", "rule", "doubts"):
            assert getattr(again, name) == getattr(kept, name)
        np.testing.assert_array_equal(again.witnesses, kept.witnesses)
        one, other = kept.explain(new[15]), again.explain(new[15])
        np.testing.assert_allclose(one.heat, other.heat, rtol=1e-5)
        assert (one.name, one.place) == (other.name, other.place)
    with pytest.raises(ValueError, match="holds a station with no encoder, got one"):
        load_station(tmp_path / "cell.station", small_cnn(seed=0))


def test_what_it_takes_to_prepare_photographs_comes_back(tmp_path):
    folder = write_lots(tmp_path / "parts", {("a", "OK"): 20, ("b", "OK"): 20})
    first = fit(folder, size=(32, 48), crop=(4, 0, 64, 50), grey=True, bits=12, evidence=False)
    save_station(first, tmp_path / "cell.station")
    second = load_station(tmp_path / "cell.station")
    assert second.preparation == Preparation((32, 48), (4, 0, 64, 50), True, 12)
    assert second.shape == (1, 32, 48)
    assert second.evidence is None
    assert_alike(second.judge(folder / "b"), first.judge(folder / "b"), rtol=1e-6)


def test_features_of_ones_own_can_not_be_kept(station, tmp_path):
    class Own(MapFeatures):
        pass

    its = station.features
    save_station(
        replace(station, features=Own(its.backbone, its.head, its.pools)), tmp_path / "cell.station"
    )
    own = replace(station, features=object())
    with pytest.raises(TypeError, match="features of the kind object can't be kept"):
        save_station(own, tmp_path / "other.station")
    assert not (tmp_path / "other.station").exists()


def test_pictures_for_the_operator(station, folder, new):
    figure, axes = plt.subplots(4)
    stopped, passed = station.explain(new[10]), station.explain(new[0])
    assert stopped.draw(axes[0]) is axes[0]
    passed.draw(axes[1])
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles[0].startswith(f"STOP: dent\ndent {stopped.distance:.2f}, {stopped.second} ")
    assert titles[1].startswith("PASS: OK\nOK ")
    photograph, heat = axes[0].images
    np.testing.assert_array_equal(photograph.get_array(), new[10])
    np.testing.assert_array_equal(heat.get_array(), stopped.heat)
    (ring,) = axes[0].lines
    ((x, y),) = ring.get_xydata()
    assert (x / 8 + 0.5, y / 8 + 0.5) == stopped.place
    assert not axes[1].lines
    # Nothing is known of the places of what was not judged.
    invalid = station.explain(new[0] // 3)
    invalid.draw(axes[2])
    assert axes[2].get_title(loc="left") == f"STOP: INVALID\n{invalid.why}"
    assert len(axes[2].images) == 1
    assert not axes[2].lines
    plain = fit(folder, grey=True, evidence=False)
    plain.explain(new[10]).draw(axes[3])
    assert axes[3].images[0].get_array().shape == (64, 64)
    assert not axes[3].lines
    plt.close(figure)


# Good parts only


def test_good_parts_only(tmp_path):
    write_lots(tmp_path, {("a", "OK"): 30, ("b", "OK"): 20})
    station = fit(tmp_path)
    assert station.anchors.names.tolist() == ["OK"]
    for kind, verdict in [("OK", "OK"), ("dent", UNKNOWN), ("scratch", UNKNOWN)]:
        table = station.judge(frames(10, 17, kind))
        assert (table.verdict == verdict).sum() >= 8
        assert set(table.verdict) <= {"OK", UNKNOWN}
        assert (table.nearest == "OK").all()
        assert (table.second == "").all()
        assert table.second_distance.isna().all()
    verdict = station.explain(frames(1, 9, "dent", at=(44, 20))[0])
    assert (verdict.name, verdict.second) == (UNKNOWN, "")
    assert abs(verdict.place[0] - 6) <= 1
    assert abs(verdict.place[1] - 3) <= 1
    taught = station.with_defect("dent", frames(5, 3, "dent"))
    assert (taught.judge(frames(10, 9, "dent")).verdict == "dent").all()


def test_good_parts_by_another_name(tmp_path):
    """Some systems write one letter as two, and others do not."""
    as_one, as_two = "f\u00fcr den Kunden", "fu\u0308r den Kunden"
    for lot in ("a", "b"):
        write(tmp_path / lot / as_two, frames(12, (4, ord(lot))))
    for spelled in (as_one, as_two):
        station = fit(tmp_path, good=spelled, false_alarms=0.1, evidence=False)
        assert station.good == as_one
        assert station.anchors.classes == [as_one]
        assert station.explain(frames(1, 9)[0]).passes


def test_a_lot_by_another_spelling(tmp_path):
    for lot in ("a", "Mu\u0308nchen"):
        write(tmp_path / lot / "OK", frames(12, (4, len(lot))))
    for spelled in ("M\u00fcnchen", "Mu\u0308nchen"):
        station = fit(tmp_path, calibration=spelled, false_alarms=0.1, evidence=False)
        assert station.rule.calibration == "12 good parts of lot 'M\u00fcnchen'"


# A defect smaller than one hundredth of the photograph


def printed(rng, spot=None, side=128):
    """A sheet with bright and dark prints in any number, and a dark spot of 4 × 4 pixels."""
    y, x = np.mgrid[:side, :side]
    sheet = 120 + rng.normal(0, 12) + rng.normal(0, 6, (side, side))
    for sign in (1, -1):
        for _ in range(rng.integers(3, 20)):
            left, top = rng.uniform(6, side - 6, 2)
            sheet += sign * 50 * np.exp(-(((x - left) / 4) ** 2 + ((y - top) / 4) ** 2))
    if spot is not None:
        sheet[spot[1] - 2 : spot[1] + 2, spot[0] - 2 : spot[0] + 2] -= 130
    return np.repeat(np.clip(sheet, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_tiny_defects_take_evidence(tmp_path):
    """What pooled features pass, the strangest place stops; and it is where the spot is."""
    for seed, lot in enumerate("ab", 10):
        rng = np.random.default_rng(seed)
        write(tmp_path / lot / "OK", [printed(rng) for _ in range(50)])
    settings = {"size": None, "false_alarms": 0.02}
    pooled, whole = (fit(tmp_path, evidence=evidence, **settings) for evidence in (False, True))

    spots = np.random.default_rng(2).integers(10, 118, (30, 2))
    clean = np.stack([printed(np.random.default_rng(200 + k)) for k in range(30)])
    spotted = np.stack([printed(np.random.default_rng(200 + k), s) for k, s in enumerate(spots)])
    changed = (clean != spotted).any(axis=3).mean(axis=(1, 2))
    assert (changed > 0).all()
    assert (changed < 0.01).all()
    for station in (pooled, whole):
        assert (station.judge(clean).verdict == "OK").mean() >= 0.9
    missed = (pooled.judge(spotted).verdict == "OK").to_numpy()
    stopped = (whole.judge(spotted).verdict != "OK").to_numpy()
    assert missed.mean() >= 0.6
    assert stopped.mean() >= 0.9

    for k in (7, 13, 19, 29):  # with room on both sides of the limit
        without, with_evidence = pooled.explain(spotted[k]), whole.explain(spotted[k])
        assert without.passes
        assert without.score < 0.97 * without.limit
        assert not with_evidence.passes
        assert with_evidence.score > 1.2 * with_evidence.limit
        assert without.heat is None
        assert without.place is None
        column, row = with_evidence.place
        assert abs(column - 0.5 - spots[k][0] / 8) <= 1
        assert abs(row - 0.5 - spots[k][1] / 8) <= 1


# Photographs that are not judged


def test_photographs_of_another_kind_are_not_judged(station, new, tmp_path):
    files = write(tmp_path, new[:3])
    files += write(tmp_path, [new[4] // 3], first=3)
    blurred = ndimage.gaussian_filter(new[5].astype(float), (1.5, 1.5, 0)).astype(np.uint8)
    files += write(tmp_path, [blurred], first=4)
    (tmp_path / "005.png").write_bytes(b"no photograph")
    bright = np.clip(new[6] + 90.0, 0, 255).astype(np.uint8)
    files += [tmp_path / "005.png", *write(tmp_path, [bright, *new[7:10]], first=6)]
    table = station.judge(tmp_path)
    assert table.file.tolist() == [str(file) for file in files]
    whys = ["too dark: brightness", "too blurred: sharpness", "can't be read", "too bright: bright"]
    for k, why in zip(range(3, 7), whys):
        row = table.iloc[k]
        assert (row.verdict, row.nearest, row.second) == (INVALID, "", "")
        assert why in row.why
        assert row[NUMBERS].isna().all()
    assert "005.png" in table.why[5]
    others = [0, 1, 2, 7, 8, 9]
    alone = station.judge([files[k] for k in others])
    assert_alike(table.iloc[others].reset_index(drop=True), alone)
    assert (table.why[others] == "").all()
    in_turn = pd.concat([station.judge(file) for file in files], ignore_index=True)
    assert_alike(in_turn, table)


def test_a_batch_of_nothing_but_other_photographs(station, folder, new, tmp_path):
    plain = fit(folder, evidence=False)
    for judging in (station, plain):
        columns = judging.judge(new[:1]).columns.tolist()
        table = judging.judge(np.concatenate([new[:16] // 3, new[:2]]))
        assert table.columns.tolist() == columns
        assert (table.verdict[:16] == INVALID).all()
        assert (table.verdict[16:] != INVALID).all()
        assert table.index.tolist() == list(range(18))
        assert judging.judge(new[:2] // 3).verdict.tolist() == [INVALID, INVALID]
        for k in range(9):
            (tmp_path / f"{k}.png").write_bytes(b"")
        broken = judging.judge(tmp_path)
        assert broken.columns.tolist() == ["file", *columns]
        assert (broken.verdict == INVALID).all()


def test_what_was_not_judged_is_explained(station, new, tmp_path):
    verdict = station.explain(new[0] // 3)
    assert (verdict.name, verdict.passes, verdict.place) == (INVALID, False, None)
    assert verdict.why.startswith("too dark: brightness 0.")
    assert verdict.heat is None
    assert np.isnan(verdict.score)
    assert repr(verdict) == f"Verdict(STOP: INVALID; {verdict.why})"
    file = tmp_path / "broken.png"
    file.write_bytes(b"no photograph")
    with pytest.raises(ValueError, match=r"broken\.png can't be read as a photograph"):
        station.explain(file)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.png"):
        station.explain(tmp_path / "gone.png")


def test_a_photograph_of_another_size_is_not_judged_where_no_size_is_said(folder, new, tmp_path):
    station = fit(folder, size=None)
    files = write(tmp_path, [new[0], frames(1, 3, size=(48, 80))[0], new[10]])
    table = station.judge(files)
    assert table.verdict.tolist() == ["OK", INVALID, "dent"]
    words = "it is of 80 × 48 pixels, expected 64 × 64: say a size to bring it to"
    assert table.why.tolist() == ["", words, ""]
    with pytest.raises(ValueError, match=words):
        station.explain(files[1])
    assert (station.judge(frames(2, 3, size=(48, 80))).verdict == INVALID).all()


# What parts may be like


def test_sizes_may_differ_if_one_is_said(folder, tmp_path):
    write_lots(tmp_path, {("a", "OK"): 12, ("b", "OK"): 10})
    write(tmp_path / "a" / "OK", frames(12, 5, size=(128, 128)), first=12)
    station = fit(tmp_path, evidence=False, false_alarms=0.1)
    assert station.shape == (3, 64, 64)
    words = r"012\.png: it is of 128 × 128 pixels, expected 64 × 64: say a size"
    with pytest.raises(ValueError, match=words):
        fit(tmp_path, size=None)


def test_sizes_differ_between_lots(tmp_path):
    write_lots(tmp_path, {("a", "OK"): 10})
    write_lots(tmp_path, {("b", "OK"): 10}, size=(80, 80))
    with pytest.raises(ValueError, match=r"b.OK.000\.png: it is of 80 × 80 pixels, expected 64"):
        fit(tmp_path, size=None)


def test_proportions_that_differ_are_doubted_unless_they_are_cut_alike(tmp_path):
    write_lots(tmp_path, {("a", "OK"): 10})
    write_lots(tmp_path, {("b", "OK"): 10}, size=(64, 96))
    settings = {"false_alarms": 0.1, "evidence": False}
    station = fit(tmp_path, "differ in their proportions, from 64 × 64 to 96 × 64", **settings)
    assert station.shape == (3, 64, 64)
    fit(tmp_path, crop=(0, 0, 64, 64), **settings)


def large(rng, times, kind="OK", *, size=(36, 64), **how):
    """A photograph that is so many times as large, of larger pixels."""
    small = draw(rng, kind, size=size, **how)
    return np.repeat(np.repeat(small, times, axis=0), times, axis=1)


def test_photographs_of_640_by_480(tmp_path):
    rng, size = np.random.default_rng(0), (48, 64)
    for lot in ("a", "b"):
        write(tmp_path / lot / "OK", [large(rng, 10, size=size) for _ in range(12)])
    station = fit(tmp_path, size=size, false_alarms=0.1)
    assert station.shape == (3, 48, 64)
    verdict = station.explain(large(rng, 10, "dent", size=size, at=(20, 32)))
    assert verdict.heat.shape == (6, 8)
    assert not verdict.passes
    assert abs(verdict.place[0] - 0.5 - 20 / 8) <= 1
    assert abs(verdict.place[1] - 0.5 - 32 / 8) <= 1
    dent = large(rng, 10, "dent", size=size)
    square = fit(tmp_path, size=64, false_alarms=0.1)
    assert square.explain(dent).seen.shape == (3, 64, 64)
    assert not square.explain(dent).passes


def test_large_photographs_make_no_large_station(tmp_path):
    rng = np.random.default_rng(0)
    folder, kept, sizes = tmp_path / "parts", tmp_path / "cell.station", []
    write(folder / "OK", [large(rng, 30) for _ in range(10)])
    for size in ((36, 64), (72, 128)):
        few = "2 good calibration parts are too few"
        station = fit(folder, ONE_LOT, few, size=size)
        photograph = large(rng, 30)
        assert photograph.shape == (1080, 1920, 3)
        assert station.explain(photograph).seen.shape == (3, *size)
        assert station.anchors.points.shape == (1, 344)
        save_station(station, kept)
        sizes.append(bytes_in(read_station_file(kept)))
        assert sizes[-1].pop("probes") == 2 * 3 * size[0] * size[1]
        sizes[-1].pop("evidence")  # what it saw of places
    assert sizes[0] == sizes[1]


def bytes_in(state):
    """Bytes of the arrays in each entry of a station's file."""
    sizes = {}
    for entry, value in state.items():
        inside, values = [], [value]
        while values:
            one = values.pop()
            if isinstance(one, dict | list):
                values += one.values() if isinstance(one, dict) else one
            elif isinstance(one, np.ndarray):
                inside.append(one.nbytes)
        sizes[entry] = sum(inside)
    return sizes


def plate(rng, kind, shift):
    """A plate with two holes, which lies where it lies."""
    y, x = np.mgrid[:192, :192]
    x, y = x - 96 - shift[0], y - 96 - shift[1]
    noise = rng.normal(0, rng.uniform(6, 10), (192, 192))
    sheet = 60 + noise + 80 * ((abs(x) < 60) & (abs(y) < 48))
    sheet -= 60 * (np.hypot(abs(x) - 30, y) < 12)
    if kind == "dent":
        sheet += 60 * (np.hypot(x, y - 20) < 10)
    return np.repeat(np.clip(sheet, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_parts_need_not_be_aligned(tmp_path):
    """They lie up to a tenth of the photograph apart, in training as later."""
    for seed, lot in enumerate("ab"):
        rng = np.random.default_rng(seed)
        for kind, count in (("OK", 40), ("dent", 8)):
            plates = [plate(rng, kind, rng.uniform(-18, 18, 2)) for _ in range(count)]
            write(tmp_path / lot / kind, plates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it doubts does not matter here
        station = Station.fit(tmp_path, size=None, false_alarms=0.05, progress=False)
    agreed = []
    for kind in ("OK", "dent"):
        verdicts = []
        for shift in ((0, 0), (18, 0), (0, -18), (10, -14)):
            plates = [plate(np.random.default_rng(k), kind, shift) for k in range(100, 112)]
            verdicts.append(station.judge(np.stack(plates)).verdict.to_numpy())
        assert (np.stack(verdicts) == kind).mean() > 0.8
        agreed.append(np.stack(verdicts[1:]) == verdicts[0])
    assert np.stack(agreed).mean() > 0.8


def test_one_lot_only_is_said(tmp_path):
    write_lots(tmp_path, {("", "OK"): 20, ("", "dent"): 6})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["OK", "dent"]
    station = fit(tmp_path, ONE_LOT, false_alarms=0.25)
    assert station.rule.calibration == "the last 4 good parts"
    assert "what the next lot will be like is not in the limit" in station.doubts[0]
    assert "limit from the last 4 good parts" in repr(station)
    assert (station.judge(frames(10, 9, "dent")).verdict == "dent").all()
    last = sorted((tmp_path / "OK").iterdir())[-4:]
    assert (station.judge(last).verdict != "OK").sum() == 1  # a quarter of four


def test_defects_of_the_lot_that_is_kept_aside_are_asked(tmp_path):
    """They are good parts by another name, and so they pass."""
    write_lots(tmp_path, {("a", "OK"): 30, ("b", "OK"): 20, ("a", "dent"): 8})
    write(tmp_path / "b" / "dent", frames(3, 5))
    passing = "defective parts that were kept aside pass: "
    station = fit(tmp_path, passing)
    assert re.match(rf"[123] of 3 {passing}dent.00\d\.png \(dent\)", station.doubts[0])


def test_two_photographs_and_their_copies_make_no_station(tmp_path):
    write(tmp_path / "a" / "OK", np.repeat(frames(2, 0), 10, axis=0))
    write(tmp_path / "b" / "OK", frames(10, 1))
    with pytest.raises(ValueError, match="the 20 photographs of 'OK' to learn from hold 2 diff"):
        Station.fit(tmp_path, size=64, progress=False)


def test_what_lies_about_is_told(tmp_path):
    write_lots(tmp_path, {("a", "OK"): 20, ("b", "OK"): 20})
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    write(tmp_path, frames(2, 5))
    fit(tmp_path, "passed over: notes.txt", "2 of 42 photographs have no class", evidence=False)


def test_light_must_not_differ_between_classes(tmp_path):
    write_lots(tmp_path, {("a", "OK"): 20, ("b", "OK"): 20})
    write(tmp_path / "a" / "dent", frames(6, 5, "dent", light=180.0))
    station = fit(tmp_path, "6 of 6 photographs of 'dent' would be INVALID (too bright")
    assert (station.judge(frames(3, 6, "dent", light=180.0)).verdict == INVALID).all()


@pytest.fixture
def alive(monkeypatch):
    """How many prepared photographs there were at a time, and in all."""
    prepare, lock = Preparation.prepare, threading.Lock()
    there: weakref.WeakSet = weakref.WeakSet()
    counted = {"most": 0, "all": 0}

    def counting(self, photograph):
        made = prepare(self, photograph)
        with lock:
            there.add(made)
            counted["most"] = max(counted["most"], len(there))
            counted["all"] += 1
        return made

    monkeypatch.setattr(Preparation, "prepare", counting)
    return counted


def test_many_photographs_take_no_more_memory(alive, tmp_path):
    """Those of six batches of eight: three that are read, one looked at, and what is let go."""
    write_lots(tmp_path, {("a", "OK"): 120, ("b", "OK"): 60}, size=(32, 32))
    small = MapFeatures(small_cnn(seed=0))
    station = fit(tmp_path, size=None, features=small)
    assert alive["all"] == 120 + 180 + 4  # good parts are looked at twice, and four are probes
    assert 8 <= alive["most"] <= 48
    alive["most"] = 0
    assert len(station.judge(tmp_path)) == 180
    assert 8 <= alive["most"] <= 48


def test_so_many_good_parts_are_looked_at_for_patches_and_no_more(alive, monkeypatch, tmp_path):
    monkeypatch.setattr("snnlib.station.station.LOOKED_AT", 12)
    monkeypatch.setattr("snnlib.station.station.WITNESSES", 7)
    write_lots(tmp_path, {("a", "OK"): 40, ("b", "OK"): 20}, size=(32, 32))
    station = fit(tmp_path, size=None, features=MapFeatures(small_cnn(seed=0)))
    assert alive["all"] == 12 + 60 + 4  # probes
    assert len(station.evidence.patches) == 12 * 16 / 2  # half of 4 × 4 places of each
    assert len(station.witnesses) == 7


def test_bars_are_shown_if_they_are_asked_for(tmp_path, new, capsys):
    write_lots(tmp_path, {("a", "OK"): 12, ("b", "OK"): 10})
    settings = {"size": 32, "false_alarms": 0.1, "features": MapFeatures(small_cnn(seed=0))}
    station = Station.fit(tmp_path, progress=False, **settings)
    station.judge(tmp_path)
    assert capsys.readouterr() == ("", "")
    Station.fit(tmp_path, **settings)
    shown = capsys.readouterr().err
    for words in ("looking at good parts", "learning", "calibrating"):
        assert words in shown
    station.judge(tmp_path, progress=True)
    assert "judging" in capsys.readouterr().err


# What is refused, in words


def sixteen_bits(photographs, bits):
    """The same photographs in grey as a camera of so many bits stores them."""
    grey = photographs.mean(axis=3).round().astype(np.uint32)
    return (grey * (2**bits - 1) // 255).astype(np.uint16), grey.astype(np.uint8)


def test_files_of_12_bits_in_16(tmp_path):
    for k, (lot, kind, count) in enumerate([("a", "OK", 20), ("a", "dent", 6), ("b", "OK", 20)]):
        deep, shallow = sixteen_bits(frames(count, (1, k), kind), 12)
        write(tmp_path / "deep" / lot / kind, deep)
        write(tmp_path / "shallow" / lot / kind, shallow)
    with Image.open(tmp_path / "deep" / "a" / "OK" / "000.png") as image:
        assert image.mode == "I;16"
    words = r"46 files of 16 bits hold values up to \d+, which looks like 12 bits: say bits=12, or"
    with pytest.raises(ValueError, match=words):
        fit(tmp_path / "deep")
    of_deep = fit(tmp_path / "deep", bits=12)
    of_shallow = fit(tmp_path / "shallow")
    new = np.concatenate([frames(10, 17), frames(12, 9, "dent"), frames(6, 9, "stain")])
    deep, shallow = sixteen_bits(new, 12)
    write(tmp_path / "new deep", deep)
    told = of_deep.judge(tmp_path / "new deep")
    of_8_bits = of_shallow.judge(shallow)
    scores, other = told.score / of_deep.limit, of_8_bits.score / of_shallow.limit
    np.testing.assert_allclose(scores, other, rtol=0.15)  # 8 bits are rounded
    clear = np.abs(other - 1) > 0.15
    assert told.verdict[clear].tolist() == of_8_bits.verdict[clear].tolist()
    assert_alike(of_deep.judge(deep), told.drop(columns="file"))
    assert {"OK", "dent", UNKNOWN} == set(told.verdict)
    # They may be just dark, if somebody says so.
    dark = fit(tmp_path / "deep", bits=16)
    assert dark.explain(tmp_path / "new deep" / "000.png").seen.max() < 1 / 8


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ({("a", "OK"): 4, ("b", "dent"): 9}, {}, r"at least 5 .* got 4 of the class 'OK'"),
        ({("a", "fine"): 9}, {}, r"got 0 of the class 'OK'; classes are \['fine'\]"),
        ({("a", "OK"): 9}, {"good": "fine"}, r"got 0 of the class 'fine'; classes are \['OK'\]"),
        ({("a", "OK"): 6, ("b", "OK"): 6}, {"calibration": "c"}, r"lot 'c' can't .* \['a', 'b'\]"),
        ({("a", "OK"): 9}, {"calibration": "a"}, "lot 'a' can't be kept aside"),
        ({("a", "OK"): 6, ("b", "OK"): 6}, {"method": "best"}, "a limit is set by one of"),
        ({("a", "OK"): 6, ("b", "OK"): 6}, {"method": "conformal"}, "6 good calibration .* few"),
        ({("a", "OK"): 6, ("b", "OK"): 6}, {"size": 0}, "size must be positive"),
        ({("a", "OK"): 6, ("b", "OK"): 6}, {"crop": (0, 0, 99, 9)}, "000.png .* the crop"),
    ],
)
def test_parts_that_make_no_station(tmp_path, counts, settings, message):
    for (lot, name), count in counts.items():
        write(tmp_path / lot / name, frames(count, 1))
    small = MapFeatures(small_cnn(seed=0))
    with pytest.raises(ValueError, match=message):
        Station.fit(tmp_path, progress=False, features=small, **({"size": None} | settings))


@pytest.mark.parametrize("which", ["a/OK/002.png", "a/dent/001.png", "b/OK/004.png"])
def test_a_file_that_can_not_be_learned_from_is_named(tmp_path, which):
    write_lots(tmp_path, {("a", "OK"): 6, ("a", "dent"): 3, ("b", "OK"): 6})
    (tmp_path / which).write_bytes(b"no photograph")
    with pytest.raises(ValueError, match=re.escape(str(Path(which)))) as error:
        fit(tmp_path, features=MapFeatures(small_cnn(seed=0)))
    assert str(error.value).count(str(tmp_path / which)) == 1
    assert "can't be read as a photograph" in str(error.value)


def test_copies_of_one_photograph_make_no_station(tmp_path):
    write(tmp_path / "OK", np.repeat(frames(1, 1), 10, axis=0))
    with pytest.raises(ValueError, match=r"the 8 photographs of 'OK' .* hold 1 different ones"):
        fit(tmp_path)


def test_no_folder_no_station(tmp_path):
    with pytest.raises(NotADirectoryError, match="expected a folder of photographs, got "):
        Station.fit(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no photograph"):
        Station.fit(tmp_path)
    with pytest.raises(TypeError):
        Station.fit([tmp_path])


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (np.zeros((2, 64, 64, 3)), ValueError, "of uint8 or uint16, got float64"),
        (np.zeros((64, 64), dtype=np.uint8), ValueError, r"frames must be .* got \(64, 64\)"),
        (np.zeros((0, 64, 64), dtype=np.uint8), ValueError, "there is no part to look at"),
        (np.zeros((1, 64, 64, 4), dtype=np.uint8), ValueError, r"frames .* got \(1, 64, 64, 4\)"),
        ([], ValueError, "there is no photograph"),
        ("nowhere", NotADirectoryError, "expected a folder of photographs, got 'nowhere'"),
        (["nowhere.png"], FileNotFoundError, "there is no file 'nowhere.png'"),
        (None, TypeError, None),
        (7, TypeError, None),
    ],
)
def test_sources_that_are_none(station, source, kind, message):
    with pytest.raises(kind, match=message):
        station.judge(source)
    with pytest.raises(kind, match=message):
        station.with_defect("new", source)


def test_one_part_is_no_folder(station, tmp_path):
    with pytest.raises(ValueError, match="expected files, got the folder"):
        station.explain(tmp_path)


# Features of another kind


def test_an_encoder_that_knows_no_places(folder, new, tmp_path):
    """Then there is no evidence, though it was asked for."""
    encoder, front = nn.Sequential(nn.Flatten(), nn.Linear(192, 24)), nn.AvgPool2d(8)
    encoder[1].weight.data = torch.tensor(np.random.default_rng(0).normal(size=(24, 192))).float()
    encoder[1].bias.data.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it is worth does not matter here
        station = Station.fit(
            folder, features=EmbeddingFeatures(encoder, front), size=64, progress=False
        )
    assert station.evidence is station.rule.strange_scale is None
    table = station.judge(new)
    assert "strangest" not in table.columns
    np.testing.assert_allclose(table.score, table.to_good)
    verdict = station.explain(new[10])
    assert verdict.heat is None
    assert verdict.seen.shape == (3, 8, 8)
    save_station(station, tmp_path / "cell.station")
    other = nn.Sequential(nn.Flatten(), nn.Linear(192, 24))
    again = load_station(tmp_path / "cell.station", other, front=nn.AvgPool2d(8))
    with pytest.raises(ValueError, match="holds a station with an encoder, got none"):
        load_station(tmp_path / "cell.station")
    assert_alike(again.judge(new), table, rtol=1e-5)


# Learned features


WAYS = {
    "head": partial(with_head, epochs=5),
    "tuned": partial(fine_tuned, epochs=2),
    "scratch": partial(from_scratch, epochs=4),
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    counts = {("a", "OK"): 12, ("a", "dent"): 6, ("b", "OK"): 10, ("b", "dent"): 4}
    return write_lots(tmp_path_factory.mktemp("tiny"), counts, size=(32, 32))


@pytest.fixture(params=WAYS)
def learn(request):
    return WAYS[request.param]


def test_learning_is_drawn_by_the_seed_alone(tiny, learn):
    train, preparation = Parts.read(tiny / "a"), Preparation(32)
    images = np.random.default_rng(0).random((3, 3, 32, 32)).astype(np.float32)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    one, again, other = (learn(train, preparation, seed=seed) for seed in (1, 1, 2))
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    points = [features.describe(images)[0] for features in (one, again, other)]
    np.testing.assert_allclose(points[0], points[1], rtol=1e-4, atol=1e-5)
    assert np.abs(points[0] - points[2]).max() > 1e-3


def test_the_lot_that_is_kept_aside_is_not_read_while_learning(tiny, learn, monkeypatch, tmp_path):
    read, prepare = [], Preparation.prepare

    def noting(self, photograph):
        read.append(photograph)
        return prepare(self, photograph)

    def spied(train, preparation, *, seed, progress):
        read.clear()
        try:
            return learn(train, preparation, seed=seed, progress=progress)
        finally:
            during.extend(read)

    during: list[Path] = []
    monkeypatch.setattr(Preparation, "prepare", noting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it is worth does not matter here
        station = Station.fit(
            tiny, features=spied, size=32, false_alarms=0.1, progress=False, calibration="b"
        )
    assert set(during) == set(Parts.read(tiny / "a").files)
    assert station.rule.calibration == "10 good parts of lot 'b'"
    # It judges, is kept, and comes back.
    new = np.concatenate([frames(4, 9, size=(32, 32)), frames(4, 9, "dent", size=(32, 32))])
    told = station.judge(new)
    save_station(station, tmp_path / "cell.station")
    assert_alike(load_station(tmp_path / "cell.station").judge(new), told, rtol=1e-5)
    assert_alike(pd.concat([station.judge(frame[None]) for frame in new]), told, rtol=1e-2)


def test_learning_takes_two_classes(tiny, learn):
    good = Parts.read(tiny / "a", classes=["OK"])
    with pytest.raises(ValueError, match=r"at least two classes, got \['OK'\]"):
        learn(good, Preparation(32), seed=0)


def test_a_head_narrows_features_that_stay_as_they_are(tiny):
    features = WAYS["head"](Parts.read(tiny / "a"), Preparation(32), seed=0)
    images = np.random.default_rng(0).random((3, 3, 32, 32)).astype(np.float32)
    points, patches = features.describe(images)
    frozen, same = MapFeatures(features.backbone, pools=features.pools).describe(images)
    assert (points.shape, frozen.shape) == ((3, 64), (3, 304))  # means and maxima
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(patches, same, rtol=1e-5, atol=1e-5)
    again = blank_head(features.head.state_dict())
    assert not again.training
    with torch.inference_mode():
        of_head = again(torch.tensor(frozen)).numpy()
    np.testing.assert_allclose(of_head, points, rtol=1e-4, atol=1e-5)


def test_what_changes_while_learning(tiny):
    """A head leaves the backbone as it was, tuning goes on from it, and scratch from nothing."""
    train, before = Parts.read(tiny / "a"), pretrained().state_dict()
    head, tuned, scratch = (
        learn(train, Preparation(32), seed=0).backbone for learn in WAYS.values()
    )
    assert all(torch.equal(head.state_dict()[name], before[name]) for name in before)
    for name in before:
        if name.endswith("weight"):
            after = tuned.state_dict()[name]
            assert not torch.equal(after, before[name])
            torch.testing.assert_close(after, before[name], rtol=0, atol=0.01)
    assert scratch.name == "small_cnn"
    first = "stages.0.0.weight"
    assert not torch.equal(scratch.state_dict()[first], small_cnn(seed=0).state_dict()[first])


def as_images(n, seed, kind):
    """Photographs as features take them."""
    return frames(n, seed, kind, size=(32, 32)).transpose(0, 3, 1, 2) / np.float32(255)


def test_what_is_learned_tells_classes_apart(tiny):
    """From nothing, dents and good parts of the other lot are told by the nearest mean."""
    features = from_scratch(Parts.read(tiny / "a"), Preparation(32), seed=0, epochs=15)
    ok, dent = (features.describe(as_images(20, 7, kind))[0] for kind in ("OK", "dent"))
    means = np.stack([ok[:10].mean(axis=0), dent[:10].mean(axis=0)])
    for label, points in enumerate((ok[10:], dent[10:])):
        distances = np.linalg.norm(points[:, None] - means, axis=2)
        assert (distances.argmin(axis=1) == label).mean() >= 0.9


@pytest.mark.parametrize("way", WAYS)
def test_photographs_of_another_size_can_not_be_learned_from(way, tmp_path):
    write_lots(tmp_path, {("a", "OK"): 6, ("a", "dent"): 3}, size=(32, 32))
    write(tmp_path / "a" / "OK", frames(1, 3, size=(40, 48)), first=6)
    words = r"006\.png: it is of 48 × 40 pixels, expected 32 × 32: say a size"
    with pytest.raises(ValueError, match=words):
        WAYS[way](Parts.read(tmp_path), Preparation(), seed=0)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_can_not_be_read_is_named_while_learning(tiny, way, tmp_path):
    write_lots(tmp_path, {("a", "OK"): 6, ("a", "dent"): 3}, size=(32, 32))
    (tmp_path / "a" / "OK" / "002.png").write_bytes(b"no photograph")
    with pytest.raises(ValueError, match=r"002\.png can't be read as a photograph"):
        WAYS[way](Parts.read(tmp_path), Preparation(32), seed=0)
