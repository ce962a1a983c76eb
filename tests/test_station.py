import subprocess
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.exceptions import NotFittedError
from torch import nn

from snnlib import plots
from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import Whiten, mlp
from snnlib.images import ImageSet
from snnlib.station.inspection import (
    UNKNOWN,
    Station,
    Verdict,
    inspect_part,
    judge,
    load_station,
    save_station,
    set_up,
)


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
        ({"front": Whiten(np.eye(4))}, "expected 4 values an image, got 48"),
        (
            {"front": nn.AvgPool2d((2, 1)), "tiles": (6, 4)},
            r"images of 3 × 8 can't be cut into \(6, 4\) tiles",
        ),
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


class Halves(TransformerMixin, BaseEstimator):
    """Joins two halves of a part, and takes off what it was fitted to: no camera, no map."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        if X.shape[1:] != (2, 6, 4):
            raise ValueError(f"expected two halves (n, 2, 6, 4), got {X.shape}")
        return np.concatenate(np.moveaxis(X - self.mean_, 1, 0), axis=2).reshape(len(X), -1)


def halves(images):
    """What `Halves` takes of some parts, brighter by one."""
    return np.stack([images[:, 0, :, :4], images[:, 0, :, 4:]], axis=1) + 1


def scaled():
    """A front of another kind than those of maps, with what it has learned."""
    return nn.BatchNorm2d(1, affine=False, momentum=None)


@pytest.fixture
def whole_station():
    """With all that a station may have: a front of PyTorch, an object of scikit-learn's kind."""
    front = scaled()
    front(torch.tensor(TRAIN.images))
    preparation = Halves().fit(np.ones((1, 2, 6, 4), dtype=np.float32))
    return set_up(
        flat(), TRAIN, CALIBRATION, front=front.eval(), preparation=preparation, **SETTINGS
    )


def test_any_layer_may_stand_before_the_encoder(whole_station):
    white = (TRAIN.images - TRAIN.images.mean()) / TRAIN.images.std(ddof=1)
    Z = embed(whole_station.encoder, white)
    expected = AnchorClassifier().fit(Z, TRAIN.names)
    np.testing.assert_allclose(whole_station.anchors.anchors_, expected.anchors_, atol=1e-3)
    np.testing.assert_allclose(
        whole_station.centre, good_of(replace(TRAIN, images=white)).mean(0), atol=1e-3
    )
    cut = nn.Sequential(nn.AvgPool2d((1, 2)))  # what the encoder sees has another size
    small = nn.Sequential(nn.Flatten(), nn.Linear(24, 8))
    station = set_up(small, TRAIN, CALIBRATION, front=cut, **SETTINGS)
    assert station.shape == (1, 6, 8)
    assert station.centre.shape == (1, 6, 4)
    assert inspect_part(station, TRAIN.images[0]).seen.shape == (1, 6, 4)


def test_any_fitted_object_may_stand_before_the_station(whole_station):
    parts = parts_with_a_mark(30, seed=8).images
    told = judge(whole_station, halves(parts))
    pd.testing.assert_frame_equal(told, judge(whole_station, parts), rtol=1e-3)
    assert inspect_part(whole_station, halves(parts)[0]).name == told.verdict[0]
    with pytest.raises(
        ValueError, match=r"\(n, 1, 6, 8\), got \(30, 1, 6, 4\), of which Halves .* two"
    ):
        judge(whole_station, parts[:, :, :, :4])
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(30, 2, 6, 4\)$"):
        judge(replace(whole_station, preparation=None), halves(parts))


def numbers(station):
    """All that a station has learned."""
    for module in (station.encoder, station.front):
        if module is not None:
            yield from (tensor.numpy() for tensor in module.state_dict().values())
    yield station.centre
    if station.preparation is not None:
        yield station.preparation.mean_


def test_all_of_a_station_comes_back(station, whole_station, tmp_path):
    kinds = {"front": scaled(), "preparation": Halves()}
    for first, parts in [(station, {}), (whole_station, kinds)]:
        save_station(first, tmp_path / "station.pt")
        second = load_station(tmp_path / "station.pt", flat(), **parts)
        assert isinstance(second, Station)
        for name in ("good", "limit", "shape", "tiles"):
            assert getattr(second, name) == getattr(first, name)
        assert (second.preparation is None) == (first.preparation is None)
        assert not second.encoder.training
        for name in ("anchors_", "classes_", "n_features_in_"):
            assert np.array_equal(getattr(second.anchors, name), getattr(first.anchors, name))
        for kept, read in zip(numbers(first), numbers(second), strict=True):
            assert np.array_equal(kept, read)
        one, other = inspect_part(first, TRAIN.images[0]), inspect_part(second, TRAIN.images[0])
        assert (one.name, one.tile) == (other.name, other.tile)
        assert one.distance == pytest.approx(other.distance, rel=1e-5)
        np.testing.assert_allclose(one.drops, other.drops, atol=1e-4)
    assert not hasattr(kinds["preparation"], "mean_")  # a copy was filled


def test_a_station_of_other_pieces(station, whole_station, tmp_path):
    save_station(whole_station, tmp_path / "whole.pt")
    save_station(station, tmp_path / "bare.pt")

    class Other(Halves):
        pass

    for file, pieces, message in [
        ("whole", {"preparation": Halves()}, "holds a station with a front, got none"),
        ("whole", {"front": scaled()}, "holds a station with a preparation, got none"),
        ("bare", {"front": scaled()}, "holds a station with no front, got one"),
        ("bare", {"preparation": Halves()}, "holds a station with no preparation, got one"),
        ("whole", {"front": nn.Linear(1, 1), "preparation": Halves()}, "of another encoder"),
        ("whole", {"front": scaled(), "preparation": Other()}, "is of a Halves, got a Other"),
    ]:
        encoder = flat()
        before = encoder[1].weight.clone()
        with pytest.raises(ValueError, match=message):
            load_station(tmp_path / f"{file}.pt", encoder, **pieces)
        assert torch.equal(encoder[1].weight, before)


def test_a_preparation_that_cant_be_kept(whole_station, tmp_path):
    for value in (np.array(["a"]), {"a": 1}):
        whole_station.preparation.words_ = value
        with pytest.raises(ValueError, match="Halves can't be kept: its words_ is a"):
            save_station(whole_station, tmp_path / "station.pt")
    with pytest.raises(NotFittedError):
        save_station(replace(whole_station, preparation=Halves()), tmp_path / "station.pt")
    assert not list(tmp_path.iterdir())


def test_saved_and_loaded_in_a_fresh_process(station, tmp_path):
    parts = parts_with_a_mark(30, seed=9).images
    save_station(station, tmp_path / "station.pt")
    np.save(tmp_path / "parts.npy", parts)
    code = (
        "import numpy as np; from torch import nn; from snnlib.station.inspection import *; "
        "encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 48, bias=False)); "
        "station = load_station('station.pt', encoder); "
        "judge(station, np.load('parts.npy')).to_pickle('told.pickle')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    told = pd.read_pickle(tmp_path / "told.pickle")
    # The other process may have another number of threads, and so other last digits.
    pd.testing.assert_frame_equal(told, judge(station, parts), rtol=1e-4)


def test_parts_in_double_are_judged_alike(station):
    part = TRAIN.images[0]
    both = [inspect_part(station, part.astype(kind)) for kind in (np.float32, np.float64)]
    assert both[0].distance == pytest.approx(both[1].distance, rel=1e-4)
    assert both[0].name == both[1].name


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
    with pytest.raises(ValueError, match=r"weights\.pt lacks \['anchors', 'centre'"):
        load_station(tmp_path / "weights.pt", flat())


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


def test_stations_and_verdicts_are_printed_in_a_line(station, whole_station):
    assert repr(station) == "Station(3 classes, 'good' up to 0.829, 3 × 4 tiles)"
    assert repr(replace(whole_station, limit=7.25)) == (
        "Station(3 classes, 'good' up to 7.25, 3 × 4 tiles, front, preparation)"
    )
    stopped, passed = (inspect_part(station, TRAIN.images[k]) for k in (0, 1))
    assert repr(stopped) == "Verdict(STOP: bent; bent 0.62, good 2.14; tile (4, 1))"
    assert repr(passed) == "Verdict(PASS: good; good 0.69, bent 2.10)"
