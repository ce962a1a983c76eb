import subprocess
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from snnlib import plots
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import Affine, UnitLength, map_cnn, mlp
from snnlib.images import ImageSet
from snnlib.inspection import (
    UNKNOWN,
    Station,
    Verdict,
    inspect_part,
    judge,
    load_station,
    save_station,
    set_up,
)
from snnlib.nsoartc.dataset import fit_scaler, scale, simulate, unit_space
from snnlib.nsoartc.simulator import draw_parts, photograph
from snnlib.whitening import WithinClassWhitening

MODES = ("OK", "31D05", "92X10")


def parts_with_a_mark(n, seed):
    """Images of 6 × 8 in 3 × 4 tiles; a defect brightens one tile: (4, 1) or (2, 3)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.normal(0, 0.1, (n, 1, 6, 8)).astype(np.float32)
    images[labels == 0, :, 0:2, 6:8] += 1
    images[labels == 2, :, 4:6, 2:4] += 1
    return ImageSet(images, labels, ("bent", "good", "worn"), "marks")


TRAIN, CALIBRATION = parts_with_a_mark(90, seed=0), parts_with_a_mark(600, seed=1)
SETTINGS = {"good": "good", "tiles": (3, 4), "false_alarms": 0.01}


def flat():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 48, bias=False))


@pytest.fixture
def station():
    """Distances of the images themselves: the encoder only flattens, by the identity."""
    encoder = flat()
    encoder[1].weight.data = torch.eye(48)
    return set_up(encoder, TRAIN, CALIBRATION, **SETTINGS)


def good_of(image_set):
    return image_set.images[image_set.labels == 1]


def test_anchors_are_means_of_training_parts_and_the_limit_is_of_calibration_parts(station):
    assert station.anchors.classes_.tolist() == ["bent", "good", "worn"]
    means = TRAIN.class_means().images.reshape(3, -1)
    np.testing.assert_allclose(station.anchors.anchors_, means, rtol=1e-5, atol=1e-6)
    distances = np.linalg.norm(good_of(CALIBRATION).reshape(200, -1) - means[1], axis=1)
    assert np.sort(distances)[-3] == pytest.approx(station.limit, rel=1e-5)  # 1 % lie beyond
    centre = good_of(TRAIN).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(station.centre, centre, rtol=1e-6)
    assert station.centre.dtype == np.float32


@pytest.mark.parametrize("share", [0.0, 0.001, 0.005, 0.0149, 0.1])
def test_never_more_false_alarms_than_wanted(station, share):
    settings = SETTINGS | {"false_alarms": share}
    limited = set_up(station.encoder, TRAIN, CALIBRATION, **settings)
    stopped = (judge(limited, good_of(CALIBRATION)).verdict != "good").sum()
    assert stopped == int(share * 200)


def test_verdicts_equal_to_a_loop(station):
    parts = parts_with_a_mark(60, seed=2).images
    parts[:3] *= 0.5
    table = judge(station, parts)
    for part, row in zip(parts, table.itertuples()):
        d = {n: np.linalg.norm(part.ravel() - a) for n, a in
             zip(station.anchors.classes_, station.anchors.anchors_)}  # fmt: skip
        nearest, second = sorted(d, key=d.get)[:2]
        stray = nearest == "good" and d["good"] > station.limit
        assert row.verdict == (UNKNOWN if stray else nearest)
        assert (row.nearest, row.second) == (nearest, second)
        expected = [d[nearest], d[second], d["good"]]
        assert [row.distance, row.second_distance, row.to_good] == pytest.approx(expected, rel=1e-4)
    assert set(table.verdict) == {"bent", "good", "worn", UNKNOWN}


def test_a_part_unlike_any_other_does_not_pass(station):
    strange = np.zeros((1, 1, 6, 8), dtype=np.float32)
    strange[0, 0, 3, 5] = 0.95  # nearer to the good anchor than to any other, but not near
    assert judge(station, strange)[["verdict", "nearest"]].values.tolist() == [[UNKNOWN, "good"]]
    verdict = inspect_part(station, strange[0])
    assert isinstance(verdict, Verdict)
    assert (verdict.name, verdict.passes, verdict.tile) == (UNKNOWN, False, (3, 2))


def test_the_tile_that_speaks_most_is_the_one_with_the_mark(station):
    parts = parts_with_a_mark(30, seed=3)
    tiles = {"bent": (4, 1), "good": None, "worn": (2, 3)}
    for image, label in zip(parts.images, parts.labels):
        verdict = inspect_part(station, image)
        name = parts.class_names[label]
        assert (verdict.name, verdict.tile) == (name, tiles[name])


def test_drops_equal_to_a_loop(station):
    part = parts_with_a_mark(3, seed=4).images[2]
    drops = inspect_part(station, part).drops
    anchor = station.anchors.anchors_[1]
    for row in range(3):
        for column in range(4):
            mended = part.copy()
            box = np.s_[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            mended[box] = station.centre[box]
            expected = np.linalg.norm(part.ravel() - anchor)
            expected -= np.linalg.norm(mended.ravel() - anchor)
            assert drops[row, column] == pytest.approx(expected, abs=1e-4)


def test_one_part_is_judged_as_among_many(station):
    parts = parts_with_a_mark(9, seed=5).images
    table = judge(station, parts)
    for part, row in zip(parts, table.itertuples()):
        for shaped in (part, part[0]):
            verdict = inspect_part(station, shaped)
            assert (verdict.name, verdict.nearest, verdict.second) == (*row[1:3], row.second)
            distances = verdict.distance, verdict.second_distance
            assert distances == pytest.approx((row.distance, row.second_distance), abs=1e-5)


def test_the_picture_for_the_operator(station):
    parts = parts_with_a_mark(3, seed=6).images
    figure, axes = plt.subplots(2)
    stopped, passed = inspect_part(station, parts[0]), inspect_part(station, parts[1])
    assert stopped.draw(axes[0], vmax=2) is axes[0]
    passed.draw(axes[1])
    title = axes[0].get_title(loc="left")
    assert title.startswith("STOP: bent\nbent 0.")
    assert title.endswith(f", {stopped.second} {stopped.second_distance:.2f}")
    assert axes[1].get_title(loc="left").startswith("PASS: good")
    (frame,) = axes[0].patches
    assert (frame.get_x(), frame.get_y()) == (3.5, 0.5)
    assert not axes[1].patches
    assert axes[0].images[0].get_clim() == (-2, 2)
    plt.close(figure)


def test_a_picture_in_colour():
    figure, ax = plt.subplots()
    plots.operator(np.random.default_rng(0).random((3, 4, 6)), "PASS", True, (2, 3), ax=ax)
    assert ax.images[0].get_array().shape == (4, 6, 3)
    plt.close(figure)


def test_set_up_needs_no_more_than_two_sets_and_does_not_change_them(station):
    again = set_up(station.encoder, TRAIN, CALIBRATION, **SETTINGS)
    assert again.limit == station.limit
    assert np.array_equal(again.anchors.anchors_, station.anchors.anchors_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"good": "OK"}, r"no training part is 'OK', only \['bent', 'good', 'worn'\]"),
        ({"tiles": (4, 4)}, r"images of 6 × 8 can't be cut into \(4, 4\) tiles"),
        ({"front": Affine(np.zeros(4), np.eye(4))}, "parts have 48 values, but front takes 4"),
        ({"camera": unit_space()}, r"maps \(1, 36, 39\), but parts are \(1, 6, 8\)"),
        ({"false_alarms": 1.0}, "at least 0 and below 1, got 1.0"),
        ({"false_alarms": -0.1}, "at least 0 and below 1, got -0.1"),
        ({"false_alarms": np.nan}, "at least 0 and below 1, got nan"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        set_up(flat(), TRAIN, CALIBRATION, **(SETTINGS | change))


def test_bad_sets():
    no_good = CALIBRATION.take(np.flatnonzero(CALIBRATION.labels != 1))
    with pytest.raises(ValueError, match="no calibration part is 'good', only"):
        set_up(flat(), TRAIN, no_good, **SETTINGS)
    cut = replace(CALIBRATION, images=CALIBRATION.images[:, :, :4])
    with pytest.raises(ValueError, match=r"shape \(1, 6, 8\) as the training .* \(1, 4, 8\)"):
        set_up(flat(), TRAIN, cut, **SETTINGS)


def test_bad_parts(station):
    parts = parts_with_a_mark(3, seed=0).images
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(3, 1, 8, 6\)"):
        judge(station, parts.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(1, 1, 3, 8\)"):
        inspect_part(station, parts[0, 0, :3])
    with pytest.raises(ValueError, match="at least one image"):
        judge(station, parts[:0])
    with pytest.raises(TypeError, match="int64"):
        judge(station, np.zeros((1, 1, 6, 8), dtype=np.int64))
    parts[1, 0, 2, 5] = np.nan
    with pytest.raises(ValueError, match="nan in image 1, channel 0, row 2, column 5"):
        judge(station, parts)
    with pytest.raises(ValueError, match="nan in image 0, channel 0, row 2, column 5"):
        inspect_part(station, parts[1])


# Of maps, with everything a station may have.


@pytest.fixture(scope="module")
def line():
    """A station for maps, not trained: its parts are whitened maps, coarsely projected."""
    train = simulate(20, MODES, part_seed=1, shot_seed=1)
    calibration = simulate(40, MODES, part_seed=2, shot_seed=2)
    scaler = fit_scaler(train)
    scaled = scale(scaler, train)
    whitening = WithinClassWhitening().fit(scaled.images.reshape(60, -1), scaled.labels)
    front = Affine(scaler.mean_, whitening.matrix_ / scaler.scale_[:, None])
    encoder = mlp(1404, 64, seed=0)
    station = set_up(
        encoder, train, calibration, front=front, camera=unit_space(), false_alarms=0.05
    )
    return station, train, make_pipeline(scaler, whitening)


def test_the_front_does_what_scaler_and_whitening_do(line):
    station, train, pipeline = line
    ours = embed(nn.Sequential(station.front, station.encoder), train.images)
    theirs = embed(station.encoder, scale(pipeline, train).images)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(station.centre, 0, atol=1e-2)
    expected = AnchorClassifier().fit(theirs, np.array(train.class_names)[train.labels])
    np.testing.assert_allclose(station.anchors.anchors_, expected.anchors_, atol=1e-3)


def test_images_and_their_map_get_one_verdict(line):
    station, _, _ = line
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    maps = unit_space().transform(images).reshape(-1, 1, 36, 39)
    # Last digits of a map depend on how many were made at once; whitening makes them larger.
    pd.testing.assert_frame_equal(judge(station, images), judge(station, maps), rtol=1e-4)
    of_images, of_map = inspect_part(station, images[1]), inspect_part(station, maps[1, 0])
    assert of_images.name == of_map.name
    assert of_images.distance == pytest.approx(of_map.distance, rel=1e-4)
    np.testing.assert_allclose(of_images.drops, of_map.drops, atol=1e-3)
    with pytest.raises(ValueError, match=r"\(n, 1, 36, 39\), or \(n, 3, 66, 286\), got \(2, 3, 66"):
        judge(station, images[:2, :, :, :280])
    with pytest.raises(ValueError, match=r"\(n, 1, 36, 39\), got \(3, 3, 66, 286\)"):
        judge(replace(station, camera=None), images)


def test_saved_and_loaded_in_a_fresh_process(line, tmp_path):
    station, _train, _ = line
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    save_station(station, tmp_path / "station.pt")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import numpy as np; from snnlib.encoders import mlp; from snnlib.inspection import *; "
        "station = load_station('station.pt', mlp(1404, 64, seed=9)); "
        "judge(station, np.load('images.npy')).to_pickle('told.pickle')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    told = pd.read_pickle(tmp_path / "told.pickle")
    # The other process may have another number of threads, and so other last digits.
    pd.testing.assert_frame_equal(told, judge(station, images), rtol=1e-4)


def numbers(station):
    """All that a station has learned."""
    for module in (station.encoder, station.front):
        if module is not None:
            yield from (tensor.numpy() for tensor in module.state_dict().values())
    yield station.centre
    if station.camera is not None:
        yield station.camera.mean_


def test_all_of_a_station_comes_back(line, station, tmp_path):
    for first, encoder in [(line[0], mlp(1404, 64, seed=3)), (station, flat())]:
        save_station(first, tmp_path / "station.pt")
        second = load_station(tmp_path / "station.pt", encoder)
        assert isinstance(second, Station)
        assert (second.good, second.limit, second.tiles) == (first.good, first.limit, first.tiles)
        assert (second.camera is None) == (first.camera is None)
        assert not second.encoder.training
        for name in ("anchors_", "classes_", "n_features_in_"):
            assert np.array_equal(getattr(second.anchors, name), getattr(first.anchors, name))
        for kept, read in zip(numbers(first), numbers(second), strict=True):
            assert np.array_equal(kept, read)
        part = first.centre if first.front is None else line[1].images[25]
        one, other = inspect_part(first, part), inspect_part(second, part)
        assert (one.name, one.tile) == (other.name, other.tile)
        assert one.distance == pytest.approx(other.distance, rel=1e-5)
        np.testing.assert_allclose(one.drops, other.drops, atol=1e-4)


def test_weights_of_another_network(station, tmp_path):
    save_station(station, tmp_path / "station.pt")
    other = mlp(48, 16, seed=0)
    before = other[1].weight.clone()
    with pytest.raises(ValueError, match=r"station\.pt is of another encoder: '1\.bias'"):
        load_station(tmp_path / "station.pt", other)
    assert torch.equal(other[1].weight, before)
    with pytest.raises(ValueError, match=r"none\.pt can't be read"):
        load_station(tmp_path / "none.pt", flat())
    torch.save({"encoder": {}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt lacks \['anchors', 'camera'"):
        load_station(tmp_path / "weights.pt", flat())


def test_a_network_for_maps_fits_a_station():
    train = simulate(4, MODES, part_seed=1, shot_seed=1)
    scaler = fit_scaler(train)
    front = Affine(scaler.mean_, np.diag(1 / scaler.scale_))
    np.testing.assert_allclose(
        front(torch.tensor(train.images)).numpy(), scale(scaler, train).images, atol=2e-2
    )
    assert isinstance(scaler, StandardScaler)
    encoder = nn.Sequential(map_cnn(seed=0), UnitLength())
    station = set_up(encoder, train, train, front=front, false_alarms=0.25)
    assert inspect_part(station, train.images[0]).drops.shape == (3, 13)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": float("nan")}, "limit must be a distance of at least 0, got nan"),
        ({"limit": -0.1}, "limit must be a distance of at least 0, got -0.1"),
        ({"good": "OK"}, r"the good class 'OK' has no anchor, only \['bent', 'good', 'worn'\]"),
    ],
)
def test_a_station_that_would_pass_anything_is_none(station, change, message):
    with pytest.raises(ValueError, match=message):
        replace(station, **change)


def test_a_station_of_good_parts_only(station):
    good = [s.take(np.flatnonzero(s.names == "good")) for s in (TRAIN, CALIBRATION)]
    alone = set_up(station.encoder, *good, **SETTINGS)
    table = judge(alone, CALIBRATION.images)
    to_good = np.linalg.norm(
        CALIBRATION.images.reshape(600, -1) - alone.anchors.anchors_[0], axis=1
    )
    np.testing.assert_allclose(table.to_good, to_good, rtol=1e-5)
    assert ((table.verdict == "good") == (table.to_good <= alone.limit)).all()
    assert (table.verdict[CALIBRATION.names != "good"] == UNKNOWN).all()
    assert (table.nearest == "good").all()
    assert (table.second == "").all()
    assert table.second_distance.isna().all()
    verdict = inspect_part(alone, parts_with_a_mark(3, seed=5).images[0])
    assert (verdict.name, verdict.second, verdict.tile) == (UNKNOWN, "", (4, 1))
    assert "," not in verdict.draw().get_title(loc="left")
    plt.close()


def test_parts_in_double_are_judged_alike(line):
    station, train, _ = line
    part = train.images[0]
    both = [inspect_part(station, part.astype(kind)) for kind in (np.float32, np.float64)]
    assert both[0].distance == pytest.approx(both[1].distance, rel=1e-4)
    assert both[0].name == both[1].name


def test_stations_and_verdicts_are_printed_in_a_line(station, line):
    wide = replace(line[0], limit=7.25)
    assert repr(station) == "Station(3 classes, 'good' up to 0.829, 3 × 4 tiles)"
    assert repr(wide) == "Station(3 classes, 'OK' up to 7.25, 3 × 13 tiles, front, camera)"
    stopped, passed = (inspect_part(station, TRAIN.images[k]) for k in (0, 1))
    assert repr(stopped) == "Verdict(STOP: bent; bent 0.62, good 2.14; tile (4, 1))"
    assert repr(passed) == "Verdict(PASS: good; good 0.69, bent 2.10)"
