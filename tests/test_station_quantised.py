"""A station of arrays in whole numbers: anchors and a limit of its own, and one file for it."""

import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from test_station_exporting import assert_same, exported
from test_station_of_arrays import CALIBRATION, SETTINGS, TRAIN, good_of, parts_with_a_mark, scaled
from torch import nn

from snnlib.encoders import UnitLength, Whiten
from snnlib.station.arrays import OUT_OF_RANGE
from snnlib.station.exporting import arrays_in_int8, export_station
from snnlib.station.features import EmbeddingFeatures, Features
from snnlib.station.judging import PARTS
from snnlib.station.onnx_graph import Graph
from snnlib.station.quantised import QuantisedEmbedding
from snnlib.station.saving import save_station
from snnlib.station.station import Station
from snnlib.station.verdict import INVALID, UNKNOWN

NEW = parts_with_a_mark(60, seed=2)


@pytest.fixture(scope="module")
def station():
    """With layers of all kinds that become whole numbers, a whitening among them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = nn.Sequential(
            nn.Conv2d(1, 8, 2, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(96, 16), UnitLength()
        )
        mixed = torch.linalg.qr(torch.randn(48, 48)).Q
    front = nn.Sequential(scaled(), Whiten(mixed))
    front(torch.tensor(TRAIN.images))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an untrained encoder makes doubtful
        return Station.of_encoder(encoder, TRAIN, CALIBRATION, front=front.eval(), **SETTINGS)


def in_whole_numbers(station, *sets):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return arrays_in_int8(station, *(sets or (TRAIN, CALIBRATION)))


@pytest.fixture(scope="module")
def small(station):
    return in_whole_numbers(station)


@pytest.fixture(scope="module")
def judge(small, tmp_path_factory):
    return exported(small, tmp_path_factory.mktemp("onnx") / "small.onnx")


def beyond():
    """Good parts with one value that no training part comes near, from far above to far below."""
    parts = good_of(NEW)[:6].copy()
    parts[:, 0, 3, 4] = [9, 3, -3, -9, 1, 0]  # the last two are within
    return parts


def test_the_file_says_what_the_station_says(small, judge):
    parts = np.concatenate([NEW.images, 0.5 * NEW.images, beyond()])
    table = small.judge(parts)
    assert_same(judge.judge(parts), table)
    assert {*TRAIN.class_names, INVALID} <= set(table.verdict)
    assert (small.whole_numbers, judge.whole_numbers) == (True, True)
    assert judge.limit == small.limit
    assert judge.told["preparation"] == {"largest": small.preparation.largest}


def test_anchors_and_limit_are_its_own(station, small):
    points, patches = small.features.describe(TRAIN.images)
    assert patches is None
    for name, anchor in zip(small.anchors.names, small.anchors.points, strict=True):
        mean = points[TRAIN.names == name].mean(axis=0)
        np.testing.assert_allclose(anchor, mean, atol=1e-6)
    assert not np.allclose(small.anchors.points, station.anchors.points, rtol=0, atol=1e-6)
    assert small.limit != station.limit
    assert replace(small.rule, limit=0) == replace(station.rule, limit=0)
    to_good = small.judge(good_of(CALIBRATION)).to_good
    assert (to_good > small.limit).sum() == 2  # 1 % of 200
    assert np.isclose(to_good, small.limit, rtol=1e-5).any()
    assert small.made["data"] == station.made["data"]
    assert np.array_equal(small.made_from, station.made_from)
    assert len(small.witnesses) == len(station.witnesses)


def test_verdicts_are_nearly_those_of_the_network_before(station, small):
    before, after = (one.judge(NEW.images) for one in (station, small))
    assert (before.verdict == after.verdict).mean() >= 0.9
    assert np.corrcoef(before.score, after.score)[0, 1] > 0.99
    assert isinstance(small.features, Features)


def test_one_part_is_judged_as_among_many(small, judge):
    together = small.judge(NEW.images)
    for part, row in zip(NEW.images[:9], together.itertuples()):
        for alone in (small.explain(part), judge.explain(part)):
            assert alone.name == row.verdict
            assert alone.score == pytest.approx(row.score, rel=1e-5)
    points, _ = small.features.describe(NEW.images)
    assert np.array_equal(small.features.of_seen(NEW.images[5:6])[0], points[5])
    scores, verdicts = judge.session.run(["score", "verdict"], {PARTS: NEW.images})
    np.testing.assert_allclose(scores, together.score, rtol=0.05)  # a last digit may be rounded up
    assert (verdicts == together.verdict).mean() >= 0.95


def test_a_part_beyond_the_range_is_not_judged(station, small, judge):
    table = small.judge(beyond())
    assert table.verdict.tolist()[:4] == [INVALID] * 4
    assert INVALID not in table.verdict.tolist()[4:]
    assert table.why.tolist() == [OUT_OF_RANGE] * 4 + ["", ""]
    assert table.score.isna().tolist() == [True] * 4 + [False] * 2
    assert INVALID not in station.judge(beyond()).verdict.tolist()  # it has no range
    verdict = small.explain(beyond()[0])
    assert (verdict.name, verdict.passes, verdict.heat) == (INVALID, False, None)
    assert judge.explain(beyond()[0]).name == INVALID
    with pytest.raises(ValueError, match=f"photograph 0 of 'far' would be INVALID: {OUT_OF_RANGE}"):
        small.with_defect("far", beyond())
    for one in (small, judge):
        with pytest.raises(ValueError, match="on another scale"):
            one.judge(1000 * NEW.images)


def test_there_is_room_around_training_parts(small):
    middle = TRAIN.images.mean(axis=0)
    for times, invalid in [(1.1, False), (1.5, True)]:
        farther = middle + np.float32(times) * (TRAIN.images - middle)
        assert (small.judge(farther).verdict == INVALID).any() == invalid


def test_the_file_alone_refuses_what_is_beyond(judge):
    """Whoever runs the graph without this library is told as well."""
    verdicts, scores = judge.session.run(["verdict", "score"], {PARTS: beyond()})
    assert verdicts[:4].tolist() == [INVALID] * 4
    assert np.isnan(scores).tolist() == [True] * 4 + [False] * 2


def test_no_processor_overflows(station, small, tmp_path):
    """Of signed bytes, products with unsigned ones would be added up in 16 bits by some."""
    export_station(small, tmp_path / "small.onnx")
    model = onnx.load(tmp_path / "small.onnx")
    onnx.checker.check_model(model, full_check=True)
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights = [arrays[n.input[0]] for n in model.graph.node if n.op_type == "DequantizeLinear"
               and n.input[0] in arrays and arrays[n.input[0]].ndim > 1]  # fmt: skip
    assert sorted(w.shape for w in weights) == [(8, 1, 2, 2), (16, 96), (48, 48)]
    assert {w.dtype for w in weights} == {np.dtype(np.uint8)}
    assert not any(array.dtype == np.int8 for array in arrays.values())
    assert max(int(w.max()) - int(w.min()) for w in weights) > 200  # 8 bits, not 7


def test_defects_that_were_taught_are_taught_again(station, small):
    cracked = np.random.default_rng(0).normal(0, 0.1, (12, 1, 6, 8)).astype(np.float32)
    cracked[:, :, 2:4, 0:2] += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        taught = station.with_defect("cracked", cracked[:5])
    again = in_whole_numbers(taught, TRAIN, CALIBRATION, {"cracked": cracked[:5]})
    assert again.classes == ["bent", "cracked", "good", "worn"]
    assert again.made["taught"] == taught.made["taught"]
    assert np.array_equal(again.made_from, taught.made_from)
    assert again.limit == pytest.approx(small.limit)
    assert (again.judge(cracked[5:]).verdict == "cracked").mean() > 0.8
    for wrong, words in [
        (None, r"was taught \['cracked'\] later, got parts of \[\]"),
        ({"bent": cracked}, r"got parts of \['bent'\]"),
        ({"cracked": cracked[:4]}, "taught 'cracked' by other parts"),
    ]:
        with pytest.raises(ValueError, match=words):
            arrays_in_int8(taught, TRAIN, CALIBRATION, wrong)


def test_other_parts_than_it_was_made_from_are_refused(station):
    other = replace(TRAIN, images=np.concatenate([NEW.images[:3], TRAIN.images[3:]]))
    for sets, words in [
        ((other, CALIBRATION), "3 of these 690 parts are none of its 690"),
        ((TRAIN.take(np.arange(1, 90)), CALIBRATION), "0 of these 689 parts"),
        ((CALIBRATION, TRAIN), "expected the same training and calibration parts"),
        ((replace(TRAIN, labels=TRAIN.labels[::-1]), CALIBRATION), "with the same names"),
    ]:
        with pytest.raises(ValueError, match=words):
            arrays_in_int8(station, *sets)


def test_what_can_not_be_whole_numbers(station, small, tmp_path):
    with pytest.raises(TypeError, match=r"run by PyTorch .* got QuantisedEmbedding"):
        arrays_in_int8(small, TRAIN, CALIBRATION)
    with pytest.raises(TypeError, match="kept as ONNX: see export_station"):
        save_station(small, tmp_path / "cell.station")
    bare = EmbeddingFeatures(nn.Flatten(), nn.ReLU())
    with pytest.raises(ValueError, match="no layer multiplies by weights"):
        QuantisedEmbedding.of(bare, TRAIN.images)
    with pytest.raises(ValueError, match="no part to take ranges from"):
        QuantisedEmbedding.of(station.features, TRAIN.images[:0])


def test_a_good_calibration_part_beyond_the_range(station):
    images = CALIBRATION.images.copy()
    images[4, 0, 3, 4] = 5
    strange = replace(CALIBRATION, images=images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Station.of_encoder(
            station.features.encoder, TRAIN, strange, front=station.features.front, **SETTINGS
        )
    with pytest.raises(ValueError, match=r"1 good calibration parts lie .* first of them part 4"):
        arrays_in_int8(made, TRAIN, strange)


def test_doubts_of_the_new_limit_are_told(station):
    few = CALIBRATION.take(np.flatnonzero(CALIBRATION.labels == 1)[:20])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Station.of_encoder(
            station.features.encoder, TRAIN, few, front=station.features.front, **SETTINGS
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        small = arrays_in_int8(made, TRAIN, few)
    assert any("20 good calibration parts are too few" in doubt for doubt in small.doubts)
    told = [str(one.message) for one in caught if one.category is UserWarning]
    assert set(small.doubts) <= set(told)


class Overflowing(nn.Module):
    def forward(self, images):
        return images.flatten(1) * 3e38 * 10


def test_an_embedding_that_is_not_finite_is_not_judged(station, tmp_path):
    """Of networks in floating point, too, and in the file as well."""
    barred = replace(station, features=EmbeddingFeatures(Overflowing()), evidence=None)
    anchors = replace(station.anchors, points=np.zeros((3, 48), dtype=np.float32))
    barred = replace(barred, anchors=anchors, probes=np.zeros_like(station.probes))
    table = barred.judge(NEW.images[:2])
    assert table.verdict.tolist() == [INVALID] * 2
    rows = exported(barred, tmp_path / "cell.onnx").judge(NEW.images[:2])
    assert [row["verdict"] for row in rows] == [INVALID] * 2
    assert [row["why"] for row in rows] == [OUT_OF_RANGE] * 2


def test_it_is_written_into_any_graph(small):
    graph = Graph()
    graph.add("Identity", small.features.write_in(graph, "x"), output="y")
    session = graph.start({"x": (np.float32, ("n", 1, 6, 8))}, {"y": (np.float32, "nd")})
    (points,) = session.run(None, {"x": NEW.images[:1]})
    np.testing.assert_allclose(points, small.features.describe(NEW.images[:1])[0], rtol=1e-5)
    assert np.array_equal(small.features.seen(NEW.images), NEW.images)
    assert UNKNOWN not in small.classes
