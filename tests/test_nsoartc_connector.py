"""The connector's station: maps, and images, which become maps."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import UnitLength
from snnlib.images import ImageSet
from snnlib.nsoartc.connector import connector_station
from snnlib.nsoartc.dataset import simulate, unit_space
from snnlib.nsoartc.networks import blank_front, fit_front, map_cnn
from snnlib.nsoartc.simulator import draw_parts, photograph
from snnlib.nsoartc.soart import Soart
from snnlib.station.limits import quantile_limit
from snnlib.station.saving import load_station, save_station
from snnlib.station.verdict import UNKNOWN

MODES = ("OK", "31D05", "92X10")


def mlp_of_maps(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(1404, 64))


def assert_alike(one, other):
    """Whether verdicts are the same, but for the time that they took."""
    pd.testing.assert_frame_equal(one.drop(columns="ms"), other.drop(columns="ms"), rtol=1e-4)


@pytest.fixture(scope="module")
def sets():
    return [simulate(n, MODES, part_seed=s, shot_seed=s) for n, s in [(20, 1), (40, 2)]]


@pytest.fixture(scope="module")
def station(sets):
    """Not trained: whitened maps, coarsely projected, which do not lie far apart."""
    front = fit_front(sets[0])
    with pytest.warns(UserWarning, match="more than half of the way"):
        return connector_station(mlp_of_maps(0), *sets, front=front, false_alarms=0.05)


def test_a_station_of_maps(station, sets):
    assert (station.good, station.evidence.tiles, station.shape) == ("OK", (3, 13), (1, 36, 39))
    np.testing.assert_allclose(
        station.evidence.centre, 0, atol=1e-2
    )  # the middle of the unit space
    told = station.judge(sets[1].images)
    assert (told.verdict[sets[1].names == "OK"] != "OK").sum() <= 2  # 5 % of 40
    encoder = nn.Sequential(map_cnn(seed=0), UnitLength())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what it is worth does not matter here
        other = connector_station(encoder, *sets, front=station.features.front)
    assert other.explain(sets[0].images[0]).heat.shape == (3, 13)


def test_verdicts_equal_to_the_plain_rule(station, sets):
    """The rule written out: nearest mean, unless that is a good one beyond the limit."""
    network = nn.Sequential(station.features.front, mlp_of_maps(0))
    anchors = AnchorClassifier().fit(embed(network, sets[0].images), sets[0].names)
    distances = anchors.distances(embed(network, sets[1].images))
    good = anchors.classes_.tolist().index("OK")
    limit = quantile_limit(distances[sets[1].names == "OK", good], 0.05)
    nearest = anchors.predict(embed(network, sets[1].images))
    stray = (nearest == "OK") & (distances[:, good] > limit)
    told = station.judge(sets[1].images)
    assert told.verdict.tolist() == np.where(stray, UNKNOWN, nearest).tolist()
    assert told.nearest.tolist() == nearest.tolist()
    assert station.limit == pytest.approx(limit, rel=1e-5)
    ordered = np.sort(distances, axis=1)
    np.testing.assert_allclose(told[["distance", "second_distance"]], ordered[:, :2], rtol=1e-4)
    np.testing.assert_allclose(told.to_good, distances[:, good], rtol=1e-4)
    assert {"OK", UNKNOWN} < set(told.verdict)


def test_images_and_their_map_get_one_verdict(station):
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    maps = unit_space().transform(images).reshape(-1, 1, 36, 39)
    # Last digits of a map depend on how many were made at once; whitening makes them larger.
    assert_alike(station.judge(images), station.judge(maps))
    of_images, of_map = station.explain(images[1]), station.explain(maps[1, 0])
    assert of_images.name == of_map.name
    assert of_images.distance == pytest.approx(of_map.distance, rel=1e-4)
    np.testing.assert_allclose(of_images.heat, of_map.heat, atol=1e-3)
    words = (
        r"\(n, 1, 36, 39\), got \(2, 3, 66, 280\), of which Soart makes none: .* \(n, 3, 66, 286\)"
    )
    with pytest.raises(ValueError, match=words):
        station.judge(images[:2, :, :, :280])


def test_maps_whose_transform_is_not_known_come_as_maps(sets):
    published = [ImageSet(s.images, s.labels, s.class_names, "as published") for s in sets]
    front = fit_front(published[0])
    far, few = "more than half of the way", "40 good calibration parts are too few"
    with pytest.warns(UserWarning, match=far), pytest.warns(UserWarning, match=few):
        station = connector_station(mlp_of_maps(0), *published, front=front)
    assert station.preparation.transform is None
    with pytest.raises(ValueError, match=r"shape \(n, 1, 36, 39\), got \(1, 3, 66, 286\)$"):
        station.judge(np.zeros((1, 3, 66, 286), dtype=np.float32))


def test_a_station_comes_back_with_its_cameras(station, tmp_path):
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    save_station(station, tmp_path / "cell.station")
    pieces = {"front": blank_front(), "transform": Soart()}
    again = load_station(tmp_path / "cell.station", mlp_of_maps(9), **pieces)
    assert_alike(again.judge(images), station.judge(images))
