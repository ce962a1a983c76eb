"""Data sets of maps: named sets, scaling, and rows in parquet files."""

import subprocess
import sys
from collections import Counter

import datasets
import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from snnlib.images import ImageSet
from snnlib.nsoartc.dataset import (
    MODES,
    SPLITS,
    balance,
    class_names_of,
    fit_scaler,
    free_shifts,
    modes_of,
    named_images,
    named_set,
    read_rows,
    scale,
    set_of_rows,
    simulate,
    unit_space,
    write_rows,
)
from snnlib.nsoartc.failure_modes import parse
from snnlib.nsoartc.simulator import Lot, draw_parts, photograph
from snnlib.nsoartc.soart import PATTERNS, Place, Soart, position

SEEDS = {"part_seed": 21, "shot_seed": 22}


@pytest.fixture(scope="module")
def small():
    return simulate(4, ("OK", "31X10", "92D05"), **SEEDS)


def flat(image_set):
    return image_set.images.reshape(len(image_set), -1)


@pytest.fixture(scope="module")
def train():
    return named_set("train")


def test_simulated_parts_in_the_order_of_their_modes(small):
    assert small.images.shape == (12, 1, 36, 39)
    assert small.images.dtype == np.float32
    assert small.class_names == ("OK", "31X10", "92D05")
    assert small.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert small.source == "nsoartc, simulated cell"


def test_the_chain_by_hand_gives_the_same_maps(small):
    modes = ["OK"] * 4 + ["31X10"] * 4 + ["92D05"] * 4
    (images,) = photograph(draw_parts(modes, seed=21), seed=22)
    np.testing.assert_array_equal(flat(small), unit_space().transform(images))


def test_same_seeds_same_bytes_in_another_process(small):
    code = (
        "import hashlib; from snnlib.nsoartc.dataset import simulate;"
        "maps = simulate(4, ('OK', '31X10', '92D05'), part_seed=21, shot_seed=22).images;"
        "print(hashlib.sha256(maps.tobytes()).hexdigest())"
    )
    here = subprocess.check_output([sys.executable, "-c", code], text=True)
    again = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert here == again
    repeated = simulate(4, ("OK", "31X10", "92D05"), **SEEDS)
    assert repeated.images.tobytes() == small.images.tobytes()


def test_each_seed_and_level_counts(small):
    modes = small.class_names
    for change in ({"part_seed": 5}, {"shot_seed": 5}, {"process": 0.5}, {"shot": 0.5}):
        other = simulate(4, modes, **{**SEEDS, **change})
        assert not np.array_equal(other.images, small.images), change


def test_less_process_and_shot_leave_less_spread():
    def spread(**levels):
        return simulate(20, ("OK",), **SEEDS, **levels).images.std(axis=0).mean()

    assert spread(process=0, shot=0) == pytest.approx(0, abs=1e-6)
    assert spread(process=0) < spread()
    assert spread(shot=0) < spread()


def test_a_reference_of_ones_own():
    (good,) = photograph(draw_parts(["OK"] * 10, seed=3), seed=4)
    own = simulate(2, ("OK",), **SEEDS, soart=Soart().fit(good))
    assert not np.array_equal(own.images, simulate(2, ("OK",), **SEEDS).images)


@pytest.mark.parametrize(
    ("parts", "modes", "message"),
    [
        (0, ("OK",), "parts must be at least 1 a failure mode, got 0"),
        (1, ("OK", "OK"), "each failure mode must be given once"),
        (1, ("OK", "140X10"), "unknown failure mode '140X10'"),
        (1, (), "expected one failure mode a part"),
    ],
)
def test_what_can_not_be_simulated(parts, modes, message):
    with pytest.raises(ValueError, match=message):
        simulate(parts, modes, **SEEDS)


def test_class_names():
    assert class_names_of(["92D05", "OK", "31X10", "OK"]) == ("OK", "31X10", "92D05")
    assert class_names_of(["92D05", "131X10"]) == ("131X10", "92D05")


def test_what_the_named_sets_hold():
    def sizes(split):
        return Counter(modes_of(split).tolist())

    assert len(MODES) == 10
    assert sizes("train") == dict.fromkeys(MODES, 200)
    assert sizes("validation") == dict.fromkeys(MODES, 100)
    assert sizes("calibration") == {**dict.fromkeys(MODES, 100), "OK": 1100}
    assert sizes("test") == {**dict.fromkeys(MODES, 100), "OK": 3100}
    assert sizes("retest") == dict.fromkeys(MODES, 30)
    assert sizes("later") == dict.fromkeys(MODES, 100)
    unseen = set(sizes("unseen"))
    assert not unseen & set(MODES)
    defects = [parse(mode) for mode in unseen]
    assert any(len(several) == 2 for several in defects)
    assert any(d.direction == "M" for several in defects for d in several)
    assert any(d.amount < 0 for several in defects for d in several)
    amounts = {d.amount for several in defects for d in several if d.direction == "D"}
    assert min(amounts) == 0.2
    assert max(amounts) == 1.0
    assert any((d.pin, d.row) not in {(3, 1), (6, 1), (9, 2)} for s in defects for d in s)


def test_sets_share_no_part():
    first = {split: named_set(split, np.arange(3)).images for split in SPLITS if split != "unseen"}
    for split, images in first.items():
        others = [other for name, other in first.items() if name != split]
        assert not any(np.array_equal(images, other) for other in others), split


def test_the_retest_set_takes_ten_shots_of_each_part():
    retest = named_set("retest")
    assert len(retest) == 300
    parts = flat(retest).reshape(30, 10, -1)
    assert (retest.labels.reshape(30, 10) == retest.labels[::10, None]).all()
    between, within = parts.mean(axis=1).std(axis=0).mean(), parts.std(axis=1).mean()
    assert within > 0
    assert between > within / np.sqrt(10)  # more than the shots alone would leave


def test_the_later_lot_is_the_one_that_the_chapter_on_maps_takes_apart():
    later = Lot(brightness=0.92, glint=1.25, placement=(0.02, -0.015), cameras=(0.1, -0.1, 0.1))
    parts = draw_parts(["OK"] * 50, seed=7, lot=later)
    (images,) = photograph(parts, seed=7)
    made = named_set("later", np.arange(50)).images
    np.testing.assert_array_equal(made.reshape(50, -1), unit_space().transform(images))


def test_another_lot_looks_otherwise(train):
    good = named_set("later", np.arange(60))
    scaler = fit_scaler(train)
    assert (
        np.abs(flat(scale(scaler, good))).mean()
        > 1.3 * np.abs(flat(scale(scaler, train.take(np.arange(200))))).mean()
    )


@pytest.mark.parametrize(
    ("split", "indices"),
    [
        ("train", [250, 3, 0]),
        ("unseen", [0, 45, 839]),
        ("later", [1, 150]),
        ("retest", range(5, 60)),  # two batches of the simulator, ten shots a part
    ],
)
def test_the_images_of_a_named_set_are_those_its_maps_are_made_from(split, indices):
    indices = np.array(indices)
    seen, maps = named_images(split, indices), named_set(split, indices)
    assert seen.images.shape == (len(indices), 3, 66, 286)
    # Last digits of a map depend on how many were made at once.
    np.testing.assert_allclose(unit_space().transform(seen.images), flat(maps), atol=1e-6)
    assert seen.labels.tolist() == maps.labels.tolist()
    assert seen.names.tolist() == modes_of(split)[indices].tolist()
    assert (seen.class_names, seen.source) == (maps.class_names, maps.source)


def test_images_of_a_whole_set():
    seen = named_images("retest")
    assert len(seen) == 300
    maps = unit_space().transform(seen.images)
    np.testing.assert_allclose(maps, flat(named_set("retest")), atol=1e-6)


def test_an_unknown_set():
    for function in (modes_of, named_set, named_images):
        with pytest.raises(ValueError, match=r"split must be one of train, .*; got 'exam'"):
            function("exam")


def test_the_reference_comes_from_the_good_training_parts():
    good = draw_parts(["OK"] * 200, seed=1)
    images = np.concatenate(list(photograph(good, seed=1)))
    np.testing.assert_allclose(unit_space().mean_, images.mean(axis=0, dtype=np.float64), atol=1e-6)


def test_the_good_training_parts_are_those_of_the_reference(train):
    """In the mean over the unit space every response is the reference, so β is 1 on average."""
    good = flat(train)[train.labels == 0]
    beta = [position(Place(7, 2, "centre", f"{part}, β")) for part in PATTERNS]
    assert good[:, beta].mean(axis=0) == pytest.approx(1, abs=5e-4)


def test_the_level_keeps_its_rule(train):
    """Nearest centroid on scaled maps: 75 to 85 % on validation, which fixes the level factor."""
    scaler = fit_scaler(train)
    validation = named_set("validation")
    centroids = NearestCentroid().fit(flat(scale(scaler, train)), train.labels)
    score = centroids.score(flat(scale(scaler, validation)), validation.labels)
    assert 0.75 <= score <= 0.85


def test_scaling_is_learned_from_good_parts_alone(train):
    scaler = fit_scaler(train)
    good = flat(scale(scaler, train))[train.labels == 0]
    np.testing.assert_allclose(good.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(good.std(axis=0), 1, atol=1e-3)
    images = np.where((train.labels == 0)[:, None, None, None], train.images, 1e6)
    spoilt = ImageSet(images, train.labels, train.class_names, train.source)
    np.testing.assert_array_equal(fit_scaler(spoilt).mean_, scaler.mean_)
    assert scale(scaler, train).images.dtype == np.float32


def test_no_good_part_no_scale(small):
    with pytest.raises(ValueError, match="no part is OK"):
        fit_scaler(small.take(np.arange(4, 12)))
    unnamed = ImageSet(small.images[4:], small.labels[4:] - 1, small.class_names[1:], "")
    with pytest.raises(ValueError, match="no part is OK"):
        fit_scaler(unnamed)


def test_a_scale_of_other_maps(small):
    other = ImageSet(small.images[:, :, :12], small.labels, small.class_names, "")
    with pytest.raises(ValueError, match="features"):
        scale(fit_scaler(small), other)


def test_balance():
    labels = np.array([0, 0, 1, 0, 1, 2, 0, 2])
    images = np.arange(8, dtype=np.float32)[:, None, None, None]
    balanced, rest = balance(ImageSet(images, labels, ("OK", "a", "b"), ""))
    assert balanced.images.ravel().tolist() == [0, 1, 2, 4, 5, 7]
    assert rest.images.ravel().tolist() == [3, 6]
    assert balanced.labels.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="the set is balanced: 2 parts"):
        balance(balanced)


def test_rows_go_and_come_back(small, tmp_path):
    file = tmp_path / "small.parquet"
    write_rows(small, file)
    again = read_rows(file)
    np.testing.assert_array_equal(again.images, small.images)
    assert again.labels.tolist() == small.labels.tolist()
    assert again.class_names == small.class_names
    assert again.source == "nsoartc, small.parquet"
    assert list(tmp_path.iterdir()) == [file]
    stored = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
    assert stored.column_names == [*(f"data{k}" for k in range(1404)), "label", "fmode"]
    assert stored.features["data817"].dtype == "float32"
    assert stored[5]["fmode"] == "31X10"
    assert stored[5]["label"] == 1
    assert stored[5]["data817"] == small.images[5].ravel()[817]


def test_a_file_changed_in_place_is_read_anew(small, tmp_path):
    file = tmp_path / "small.parquet"
    write_rows(small, file)
    read_rows(file)
    write_rows(small.take(np.arange(3)), file)
    assert len(read_rows(file)) == 3


def test_an_interrupted_write_leaves_nothing(small, tmp_path, monkeypatch):
    file = tmp_path / "small.parquet"
    write_rows(small, file)
    before = file.read_bytes()

    def fail(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets.Dataset, "to_parquet", fail)
    with pytest.raises(KeyboardInterrupt):
        write_rows(small.take(np.arange(3)), file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_only_maps_are_written(blobs, tmp_path):
    with pytest.raises(ValueError, match=r"expected maps of shape \(n, 1, 36, 39\), got \(120, 1"):
        write_rows(blobs, tmp_path / "blobs.parquet")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_rows(tmp_path / "nowhere.parquet")


def rows(small, **changes):
    """Rows of the small set; a column set to None is left out."""
    names = np.array(small.class_names)
    columns = {f"data{k}": values for k, values in enumerate(flat(small).T)}
    columns |= {"label": small.labels, "fmode": names[small.labels]}
    columns = {name: v for name, v in {**columns, **changes}.items() if v is not None}
    return datasets.Dataset.from_dict(columns)


def test_labels_are_made_anew_from_the_failure_modes(small):
    foreign = rows(small, label=np.array([7, 3, 5])[small.labels])
    again = set_of_rows(foreign, "elsewhere")
    assert again.labels.tolist() == small.labels.tolist()
    assert again.source == "elsewhere"
    wider = set_of_rows(foreign, "elsewhere", ("OK", "31X10", "61X10", "92D05"))
    assert wider.class_names == ("OK", "31X10", "61X10", "92D05")
    assert set(wider.labels) == {0, 1, 3}


def test_other_columns_are_left_alone(small):
    assert len(set_of_rows(rows(small, lot=["a"] * 12), "")) == 12


def changed(small, value):
    column = flat(small)[:, 817].copy()
    column[3] = value
    return column


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data817": None}, "missing: data817; too many: none"),
        ({f"data{k}": None for k in range(5)}, "missing: data0, data1, data2 and 2 more"),
        ({"data1404": [0.0] * 12}, "missing: none; too many: data1404"),
        ({"fmode": None}, "missing: fmode"),
        ({"label": None}, "missing: label"),
        ({"fmode": ["OK"] * 4 + ["NG"] * 8}, "row 4: unknown failure mode 'NG': expected OK, or"),
        ({"label": [0, 1] * 6}, r"failure mode '31X10' has the labels \[0, 1\], expected one"),
    ],
)
def test_rows_that_do_not_fit(small, change, message):
    with pytest.raises(ValueError, match=message):
        set_of_rows(rows(small, **change), "")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_with_a_value_that_is_no_number(small, value):
    with pytest.raises(ValueError, match=rf"got {value} in row 3, column data817"):
        set_of_rows(rows(small, data817=changed(small, value)), "")


def test_a_missing_value(small):
    column = changed(small, 0).tolist()
    column[3] = None
    with pytest.raises(ValueError, match="got nan in row 3, column data817"):
        set_of_rows(rows(small, data817=column), "")


def test_no_rows(small):
    with pytest.raises(ValueError, match="expected at least one row"):
        set_of_rows(rows(small).select([]), "")


def test_a_failure_mode_that_is_not_expected(small):
    with pytest.warns(UserWarning, match=r"^4 of 12 parts .* not known: \['31X10'\], known are"):
        maps = set_of_rows(rows(small), "", ("OK", "92D05"))
    assert maps.class_names == ("OK", "92D05", "31X10")
    again = set_of_rows(rows(small), "")
    names = np.array(again.class_names)
    assert (np.array(maps.class_names)[maps.labels] == names[again.labels]).all()


def moved(mode, rows, columns):
    """The code of a defect on another pin."""
    (defect,) = parse(mode)
    row, pin = (defect.row - 1 + rows) % 3 + 1, (defect.pin - 1 + columns) % 13 + 1
    return f"{pin}{row}{mode[-3:]}"


def test_a_free_shift_makes_no_known_defect():
    shifts, defects = free_shifts(MODES), MODES[1:]
    assert len(shifts) == len(set(shifts)) == 32
    made = {shift: {moved(mode, *shift) for mode in defects} for shift in np.ndindex(3, 13)}
    assert shifts == [shift for shift, modes in made.items() if not modes & set(defects)]
    assert (0, 0) not in shifts
    assert (0, 3) not in shifts  # it would make 61X10 of 31X10
    assert len(free_shifts(["OK"])) == 39
    assert len(free_shifts(["31X10", "OK"])) == 38
    with pytest.raises(ValueError, match="unknown failure mode"):
        free_shifts(["140X10"])
