"""The station of an encoder that was trained elsewhere: parts come as arrays."""

import subprocess
import sys
from contextlib import nullcontext
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
from snnlib.station.arrays import Arrays
from snnlib.station.evidence import TileEvidence
from snnlib.station.saving import load_station, save_station
from snnlib.station.station import Station
from snnlib.station.verdict import UNKNOWN, Verdict


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
    return Station.of_encoder(encoder, TRAIN, CALIBRATION, **SETTINGS)


def assert_alike(one, other, rtol):
    """Whether verdicts are the same, but for the time that they took."""
    pd.testing.assert_frame_equal(one.drop(columns="ms"), other.drop(columns="ms"), rtol=rtol)


def good_of(image_set):
    return image_set.images[image_set.labels == 1]


def test_anchors_are_means_of_training_parts_and_the_limit_is_of_calibration_parts(station):
    assert station.anchors.classes == ["bent", "good", "worn"]
    means = TRAIN.class_means().images.reshape(3, -1)
    np.testing.assert_allclose(station.anchors.points, means, rtol=1e-5, atol=1e-6)
    distances = np.linalg.norm(good_of(CALIBRATION).reshape(200, -1) - means[1], axis=1)
    assert np.sort(distances)[-3] == pytest.approx(station.limit, rel=1e-5)  # 1 % lie beyond
    centre = good_of(TRAIN).mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(station.evidence.centre, centre, rtol=1e-6)
    assert station.evidence.centre.dtype == np.float32


@pytest.mark.parametrize("share", [0.0, 0.001, 0.005, 0.0149, 0.1])
def test_never_more_false_alarms_than_wanted(station, share):
    settings = SETTINGS | {"false_alarms": share}
    with nullcontext() if share * 200 >= 1 else pytest.warns(UserWarning, match="are too few"):
        limited = Station.of_encoder(station.features.encoder, TRAIN, CALIBRATION, **settings)
    stopped = (limited.judge(good_of(CALIBRATION)).verdict != "good").sum()
    assert stopped == int(share * 200)


def test_verdicts_equal_to_a_loop(station):
    parts = parts_with_a_mark(60, seed=2).images
    parts[:3] *= 0.5
    table = station.judge(parts)
    for part, row in zip(parts, table.itertuples()):
        d = {n: np.linalg.norm(part.ravel() - a) for n, a in
             zip(station.anchors.names, station.anchors.points)}  # fmt: skip
        nearest, second = sorted(d, key=d.get)[:2]
        stray = nearest == "good" and d["good"] > station.limit
        assert row.verdict == (UNKNOWN if stray else nearest)
        assert (row.nearest, row.second) == (nearest, second)
        expected = [d[nearest], d[second], d["good"], d["good"]]
        told = [row.distance, row.second_distance, row.to_good, row.score]
        assert told == pytest.approx(expected, rel=1e-4)
    assert set(table.verdict) == {"bent", "good", "worn", UNKNOWN}


def test_a_part_unlike_any_other_does_not_pass(station):
    strange = np.zeros((1, 1, 6, 8), dtype=np.float32)
    strange[0, 0, 3, 5] = 0.95  # nearer to the good anchor than to any other, but not near
    assert station.judge(strange)[["verdict", "nearest"]].values.tolist() == [[UNKNOWN, "good"]]
    verdict = station.explain(strange[0])
    assert isinstance(verdict, Verdict)
    assert (verdict.name, verdict.passes, verdict.place) == (UNKNOWN, False, (3, 2))


def test_the_tile_that_speaks_most_is_the_one_with_the_mark(station):
    parts = parts_with_a_mark(30, seed=3)
    tiles = {"bent": (4, 1), "good": None, "worn": (2, 3)}
    for image, label in zip(parts.images, parts.labels):
        verdict = station.explain(image)
        name = parts.class_names[label]
        assert (verdict.name, verdict.place) == (name, tiles[name])


def test_no_tile_is_framed_if_none_is_to_blame(station):
    """Every repair with such a mean part makes matters worse."""
    worse = TileEvidence(np.full_like(station.evidence.centre, 9), station.evidence.tiles)
    verdict = replace(station, evidence=worse).explain(parts_with_a_mark(3, seed=3).images[0])
    assert verdict.heat.max() <= 0
    assert (verdict.name, verdict.passes, verdict.place) == ("bent", False, None)


def test_drops_equal_to_a_loop(station):
    part = parts_with_a_mark(3, seed=4).images[2]
    drops = station.explain(part).heat
    anchor = station.anchors.points[1]
    for row in range(3):
        for column in range(4):
            mended = part.copy()
            box = np.s_[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            mended[box] = station.evidence.centre[box]
            expected = np.linalg.norm(part.ravel() - anchor)
            expected -= np.linalg.norm(mended.ravel() - anchor)
            assert drops[row, column] == pytest.approx(expected, abs=1e-4)


def test_one_part_is_judged_as_among_many(station):
    parts = parts_with_a_mark(9, seed=5).images
    table = station.judge(parts)
    for part, row in zip(parts, table.itertuples()):
        for shaped in (part, part[0]):
            verdict = station.explain(shaped)
            said = (verdict.name, verdict.nearest, verdict.second)
            assert said == (row.verdict, row.nearest, row.second)
            assert verdict.score == pytest.approx(row.score, abs=1e-5)
            distances = verdict.distance, verdict.second_distance
            assert distances == pytest.approx((row.distance, row.second_distance), abs=1e-5)


def test_the_picture_for_the_operator(station):
    parts = parts_with_a_mark(3, seed=6).images
    figure, axes = plt.subplots(2)
    stopped, passed = station.explain(parts[0]), station.explain(parts[1])
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
    again = Station.of_encoder(station.features.encoder, TRAIN, CALIBRATION, **SETTINGS)
    assert again.limit == station.limit
    assert np.array_equal(again.anchors.points, station.anchors.points)


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
        Station.of_encoder(flat(), TRAIN, CALIBRATION, **(SETTINGS | change))


def test_bad_sets():
    no_good = CALIBRATION.take(np.flatnonzero(CALIBRATION.labels != 1))
    with pytest.raises(ValueError, match="no calibration part is 'good', only"):
        Station.of_encoder(flat(), TRAIN, no_good, **SETTINGS)
    cut = replace(CALIBRATION, images=CALIBRATION.images[:, :, :4])
    with pytest.raises(ValueError, match=r"shape \(1, 6, 8\) as the training .* \(1, 4, 8\)"):
        Station.of_encoder(flat(), TRAIN, cut, **SETTINGS)


def test_bad_parts(station):
    parts = parts_with_a_mark(3, seed=0).images
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(3, 1, 8, 6\)"):
        station.judge(parts.transpose(0, 1, 3, 2))
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(1, 1, 3, 8\)"):
        station.explain(parts[0, 0, :3])
    with pytest.raises(ValueError, match="there is no part to look at"):
        station.judge(parts[:0])
    with pytest.raises(TypeError, match="int64"):
        station.judge(np.zeros((1, 1, 6, 8), dtype=np.int64))
    parts[1, 0, 2, 5] = np.nan
    with pytest.raises(ValueError, match="nan in image 1, channel 0, row 2, column 5"):
        station.judge(parts)
    with pytest.raises(ValueError, match="nan in image 0, channel 0, row 2, column 5"):
        station.explain(parts[1])


class Halves(TransformerMixin, BaseEstimator):
    """Joins two halves of a part, and takes off what it was fitted to: no camera, no map."""

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        if X.shape[1:] != (2, 6, 4):
            raise ValueError(f"expected two halves (n, 2, 6, 4), got {X.shape}")
        return np.concatenate(np.moveaxis(X - self.mean_, 1, 0), axis=2).reshape(len(X), -1)


def without(station, transform=None):
    """The same station with another transform, or none."""
    return replace(station, preparation=replace(station.preparation, transform=transform))


def halves(images):
    """What `Halves` takes of some parts, brighter by one."""
    return np.stack([images[:, 0, :, :4], images[:, 0, :, 4:]], axis=1) + 1


def scaled():
    """A front of another kind than those of maps, with what it has learned."""
    return nn.BatchNorm2d(1, affine=False, momentum=None)


@pytest.fixture
def whole_station():
    """With all that a station may have: a front of PyTorch, an object of scikit-learn's kind."""
    front, encoder = scaled(), flat()
    front(torch.tensor(TRAIN.images))
    encoder[1].weight.data = torch.linalg.qr(encoder[1].weight.data).Q  # distances stay
    transform = Halves().fit(np.ones((1, 2, 6, 4), dtype=np.float32))
    return Station.of_encoder(
        encoder, TRAIN, CALIBRATION, front=front.eval(), transform=transform, **SETTINGS
    )


def test_any_layer_may_stand_before_the_encoder(whole_station):
    white = (TRAIN.images - TRAIN.images.mean()) / TRAIN.images.std(ddof=1)
    Z = embed(whole_station.features.encoder, white)
    expected = AnchorClassifier().fit(Z, TRAIN.names)
    np.testing.assert_allclose(whole_station.anchors.points, expected.anchors_, atol=1e-3)
    np.testing.assert_allclose(
        whole_station.evidence.centre, good_of(replace(TRAIN, images=white)).mean(0), atol=1e-3
    )
    cut = nn.Sequential(nn.AvgPool2d((1, 2)))  # what the encoder sees has another size
    small = nn.Flatten()
    station = Station.of_encoder(small, TRAIN, CALIBRATION, front=cut, **SETTINGS)
    assert station.shape == (1, 6, 8)
    assert station.evidence.centre.shape == (1, 6, 4)
    assert station.explain(TRAIN.images[0]).seen.shape == (1, 6, 4)


def test_any_fitted_object_may_stand_before_the_station(whole_station):
    parts = parts_with_a_mark(30, seed=8).images
    told = whole_station.judge(halves(parts))
    assert_alike(told, whole_station.judge(parts), rtol=1e-3)
    assert whole_station.explain(halves(parts)[0]).name == told.verdict[0]
    with pytest.raises(
        ValueError, match=r"\(n, 1, 6, 8\), got \(30, 1, 6, 4\), of which Halves .* two"
    ):
        whole_station.judge(parts[:, :, :, :4])
    with pytest.raises(ValueError, match=r"shape \(n, 1, 6, 8\), got \(30, 2, 6, 4\)$"):
        without(whole_station).judge(halves(parts))


def numbers(station):
    """All that a station has learned."""
    for module in (station.features.encoder, station.features.front):
        if module is not None:
            yield from (tensor.numpy() for tensor in module.state_dict().values())
    yield station.evidence.centre
    yield from (station.anchors.points, station.anchors.errors, station.witnesses)
    if station.preparation.transform is not None:
        yield station.preparation.transform.mean_


def test_all_of_a_station_comes_back(station, whole_station, tmp_path):
    kinds = {"front": scaled(), "transform": Halves()}
    for first, parts in [(station, {}), (whole_station, kinds)]:
        save_station(first, tmp_path / "cell.station")
        second = load_station(tmp_path / "cell.station", flat(), **parts)
        assert isinstance(second, Station)
        for name in ("good", "limit", "shape", "rule", "doubts", "metric", "checks"):
            assert getattr(second, name) == getattr(first, name)
        assert second.evidence.tiles == first.evidence.tiles
        assert second.preparation.largest == first.preparation.largest
        assert (second.preparation.transform is None) == (first.preparation.transform is None)
        assert not second.features.encoder.training
        assert second.anchors.names.tolist() == first.anchors.names.tolist()
        for kept, read in zip(numbers(first), numbers(second), strict=True):
            assert np.array_equal(kept, read)
        one, other = first.explain(TRAIN.images[0]), second.explain(TRAIN.images[0])
        assert (one.name, one.place) == (other.name, other.place)
        assert one.distance == pytest.approx(other.distance, rel=1e-5)
        np.testing.assert_allclose(one.heat, other.heat, atol=1e-4)
    assert not hasattr(kinds["transform"], "mean_")  # a copy was filled


def test_a_station_of_other_pieces(station, whole_station, tmp_path):
    save_station(whole_station, tmp_path / "whole.station")
    save_station(station, tmp_path / "bare.station")

    class Other(Halves):
        pass

    for file, pieces, message in [
        ("whole", {"transform": Halves()}, "holds a station with a front, got none"),
        ("whole", {"front": scaled()}, "holds a station with a transform, got none"),
        ("bare", {"front": scaled()}, "holds a station with no front, got one"),
        ("bare", {"transform": Halves()}, "holds a station with no transform, got one"),
        ("whole", {"front": nn.Linear(1, 1), "transform": Halves()}, "of another encoder"),
        ("whole", {"front": scaled(), "transform": Other()}, "is of a Halves, got a Other"),
    ]:
        encoder = flat()
        before = encoder[1].weight.clone()
        with pytest.raises(ValueError, match=message):
            load_station(tmp_path / f"{file}.station", encoder, **pieces)
        assert torch.equal(encoder[1].weight, before)


def test_a_transform_that_cant_be_kept(whole_station, tmp_path):
    for value in (np.array(["a"]), {"a": 1}):
        whole_station.preparation.transform.words_ = value
        with pytest.raises(ValueError, match="Halves can't be kept: its words_ is a"):
            save_station(whole_station, tmp_path / "cell.station")
    with pytest.raises(NotFittedError):
        save_station(without(whole_station, Halves()), tmp_path / "cell.station")
    assert not list(tmp_path.iterdir())


def test_saved_and_loaded_in_a_fresh_process(station, tmp_path):
    parts = parts_with_a_mark(30, seed=9).images
    save_station(station, tmp_path / "cell.station")
    np.save(tmp_path / "parts.npy", parts)
    code = (
        "import numpy as np; from torch import nn; from snnlib.station.saving import *; "
        "encoder = nn.Sequential(nn.Flatten(), nn.Linear(48, 48, bias=False)); "
        "station = load_station('cell.station', encoder); "
        "station.judge(np.load('parts.npy')).to_pickle('told.pickle')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    told = pd.read_pickle(tmp_path / "told.pickle")
    # The other process may have another number of threads, and so other last digits.
    assert_alike(told, station.judge(parts), rtol=1e-4)


def test_parts_in_double_are_judged_alike(station):
    part = TRAIN.images[0]
    both = [station.explain(part.astype(kind)) for kind in (np.float32, np.float64)]
    assert both[0].distance == pytest.approx(both[1].distance, rel=1e-4)
    assert both[0].name == both[1].name


def test_weights_of_another_network(station, tmp_path):
    save_station(station, tmp_path / "cell.station")
    other = mlp(48, 16, seed=0)
    before = other[1].weight.clone()
    with pytest.raises(ValueError, match=r"cell\.station is of another encoder: '1\.bias'"):
        load_station(tmp_path / "cell.station", other)
    assert torch.equal(other[1].weight, before)
    with pytest.raises(ValueError, match=r"none\.pt can't be read"):
        load_station(tmp_path / "none.pt", flat())
    torch.save({"encoder": {}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt can't be read: it is no file of a station"):
        load_station(tmp_path / "weights.pt", flat())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": float("nan")}, "limit must be at least 0, got nan"),
        ({"limit": -0.1}, "limit must be at least 0, got -0.1"),
    ],
)
def test_a_station_that_would_pass_anything_is_none(station, change, message):
    with pytest.raises(ValueError, match=message):
        replace(station, rule=replace(station.rule, **change))


def test_a_station_whose_good_parts_have_no_anchor_is_none(station):
    words = r"the good class 'OK' has no anchor, only \['bent', 'good', 'worn'\]"
    with pytest.raises(ValueError, match=words):
        replace(station, good="OK")


def test_a_station_of_good_parts_only(station):
    good = [s.take(np.flatnonzero(s.names == "good")) for s in (TRAIN, CALIBRATION)]
    alone = Station.of_encoder(station.features.encoder, *good, **SETTINGS)
    table = alone.judge(CALIBRATION.images)
    to_good = np.linalg.norm(CALIBRATION.images.reshape(600, -1) - alone.anchors.points[0], axis=1)
    np.testing.assert_allclose(table.to_good, to_good, rtol=1e-5)
    assert ((table.verdict == "good") == (table.to_good <= alone.limit)).all()
    assert (table.verdict[CALIBRATION.names != "good"] == UNKNOWN).all()
    assert (table.nearest == "good").all()
    assert (table.second == "").all()
    assert table.second_distance.isna().all()
    verdict = alone.explain(parts_with_a_mark(3, seed=5).images[0])
    assert (verdict.name, verdict.second, verdict.place) == (UNKNOWN, "", (4, 1))
    assert "," not in verdict.draw().get_title(loc="left")
    plt.close()


def test_stations_and_verdicts_are_printed_in_a_line(station):
    words = "Station(3 classes, 'good' up to 0.829, limit from calibration parts)"
    assert repr(station) == words
    stopped, passed = (station.explain(TRAIN.images[k]) for k in (0, 1))
    assert repr(stopped) == "Verdict(STOP: bent; bent 0.62, good 2.14; place (4, 1))"
    assert repr(passed) == "Verdict(PASS: good; good 0.69, bent 2.10)"


def test_what_a_station_of_arrays_is_made_of(station):
    assert isinstance(station.preparation, Arrays)
    assert isinstance(station.evidence, TileEvidence)
    assert station.metric is station.checks is station.rule.strange_scale is None
    assert station.doubts == ()
    assert station.shape == (1, 6, 8)
    assert station.rule.parts == 200
    assert not station.anchors.errors.any()  # each distance is that to the mean itself
    columns = ["verdict", "score", "nearest", "distance", "second", "second_distance", "to_good"]
    table = station.judge(TRAIN.images)
    assert table.columns.tolist() == [*columns, "ms", "why"]
    assert table.index.tolist() == list(range(90))
    assert (table.ms > 0).all()
    assert (table.why == "").all()


def test_a_station_keeps_a_copy_of_its_encoder(station):
    encoder = flat()
    encoder[1].weight.data = torch.eye(48)
    front = nn.Sequential(scaled(), nn.Dropout(0.5))
    front[0](torch.tensor(TRAIN.images))
    copied = Station.of_encoder(encoder, TRAIN, CALIBRATION, front=front, **SETTINGS)
    assert encoder.training
    assert front.training
    parts = parts_with_a_mark(30, seed=7).images
    before = copied.judge(parts)
    encoder[1].weight.data.zero_()
    front[0](torch.tensor(100 * TRAIN.images))
    assert_alike(copied.judge(parts), before, rtol=1e-7)


def test_more_parts_than_a_batch_are_judged_alike(station, monkeypatch):
    parts = parts_with_a_mark(50, seed=10).images
    at_once = station.judge(parts)
    monkeypatch.setattr("snnlib.station.looking.ARRAYS_AT_A_TIME", 7)
    in_batches = station.judge(parts)
    assert_alike(in_batches, at_once, rtol=1e-5)
    assert in_batches.index.tolist() == list(range(50))


def test_a_new_defect_needs_no_training(station):
    rng = np.random.default_rng(0)
    cracked = rng.normal(0, 0.1, (30, 1, 6, 8)).astype(np.float32)
    cracked[:, :, 2:4, 0:2] += 1
    taught = station.with_defect("cracked", cracked[:5])
    assert (station.judge(cracked).verdict == UNKNOWN).all()
    assert (taught.judge(cracked).verdict == "cracked").all()
    assert taught.explain(cracked[9]).place == (1, 2)
    np.testing.assert_allclose(
        taught.anchors.points[-1], cracked[:5].reshape(5, -1).mean(0), rtol=1e-5, atol=1e-6
    )
    known = parts_with_a_mark(60, seed=11).images
    columns = ["verdict", "score", "nearest", "distance", "to_good"]  # the second may be the new
    pd.testing.assert_frame_equal(taught.judge(known)[columns], station.judge(known)[columns])
    with pytest.raises(ValueError, match=r"class 'bent' has an anchor already"):
        taught.with_defect("bent", cracked)
    with pytest.raises(ValueError, match="no class may be named 'Unknown'"):
        station.with_defect("Unknown", cracked)


def test_a_new_defect_near_good_parts_is_doubted(station):
    near, lost = "the anchor of 'faint' lies 0", "71 of 200 good .* they would be stopped"
    with pytest.warns(UserWarning, match=near), pytest.warns(UserWarning, match=lost):
        taught = station.with_defect("faint", good_of(TRAIN)[:20])
    assert len(taught.doubts) == 2
    assert not station.doubts
    told = taught.judge(good_of(CALIBRATION))
    assert (told.verdict == "faint").sum() == 71


def test_values_of_another_scale_are_refused(station):
    parts = parts_with_a_mark(3, seed=0).images
    with pytest.raises(ValueError, match=r"up to 2\d\d.*, training parts up to 1.*another scale"):
        station.judge(255 * parts / parts.max())
    assert len(station.judge(9 * parts)) == 3


@pytest.mark.parametrize("source", ["parts.npy", [np.zeros((1, 6, 8))], None])
def test_a_station_of_arrays_takes_nothing_else(station, source):
    with pytest.raises(TypeError, match=r"judges arrays of the shape \(n, 1, 6, 8\), got"):
        station.judge(source)
    with pytest.raises(TypeError, match=r"judges arrays of the shape \(n, 1, 6, 8\), got"):
        station.explain(source)


@pytest.mark.parametrize("method", ["conformal", "tolerance"])
def test_other_limits_promise_more(station, method):
    settings = SETTINGS | {"false_alarms": 0.05, "method": method}
    other = Station.of_encoder(station.features.encoder, TRAIN, CALIBRATION, **settings)
    to_good = np.sort(other.judge(good_of(CALIBRATION)).to_good)
    rank = {"conformal": 191, "tolerance": 196}[method]  # of 200
    assert other.limit == pytest.approx(to_good[rank - 1], rel=1e-5)
    assert other.rule.method == method
    too_few = settings | {"false_alarms": 0.001}
    with pytest.raises(ValueError, match=rf"200 good calibration parts are too few .*'{method}'"):
        Station.of_encoder(station.features.encoder, TRAIN, CALIBRATION, **too_few)
