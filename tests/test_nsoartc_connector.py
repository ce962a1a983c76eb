"""The connector's station: maps, and images, which become maps."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from snnlib.encoders import UnitLength
from snnlib.images import ImageSet
from snnlib.nsoartc.connector import connector_station
from snnlib.nsoartc.dataset import simulate, unit_space
from snnlib.nsoartc.networks import blank_front, fit_front, map_cnn
from snnlib.nsoartc.simulator import draw_parts, photograph
from snnlib.nsoartc.soart import Soart
from snnlib.station.inspection import inspect_part, judge, load_station, save_station

MODES = ("OK", "31D05", "92X10")


def mlp_of_maps(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(1404, 64))


@pytest.fixture(scope="module")
def sets():
    return [simulate(n, MODES, part_seed=s, shot_seed=s) for n, s in [(20, 1), (40, 2)]]


@pytest.fixture(scope="module")
def station(sets):
    """Not trained: whitened maps, coarsely projected."""
    front = fit_front(sets[0])
    return connector_station(mlp_of_maps(0), *sets, front=front, false_alarms=0.05)


def test_a_station_of_maps(station, sets):
    assert (station.good, station.tiles, station.shape) == ("OK", (3, 13), (1, 36, 39))
    np.testing.assert_allclose(station.centre, 0, atol=1e-2)  # the middle of the unit space
    told = judge(station, sets[1].images)
    assert (told.verdict[sets[1].names == "OK"] != "OK").sum() <= 2  # 5 % of 40
    encoder = nn.Sequential(map_cnn(seed=0), UnitLength())
    other = connector_station(encoder, *sets, front=station.front)
    assert inspect_part(other, sets[0].images[0]).drops.shape == (3, 13)


def test_images_and_their_map_get_one_verdict(station):
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    maps = unit_space().transform(images).reshape(-1, 1, 36, 39)
    # Last digits of a map depend on how many were made at once; whitening makes them larger.
    pd.testing.assert_frame_equal(judge(station, images), judge(station, maps), rtol=1e-4)
    of_images, of_map = inspect_part(station, images[1]), inspect_part(station, maps[1, 0])
    assert of_images.name == of_map.name
    assert of_images.distance == pytest.approx(of_map.distance, rel=1e-4)
    np.testing.assert_allclose(of_images.drops, of_map.drops, atol=1e-3)
    words = (
        r"\(n, 1, 36, 39\), got \(2, 3, 66, 280\), of which Soart makes none: .* \(n, 3, 66, 286\)"
    )
    with pytest.raises(ValueError, match=words):
        judge(station, images[:2, :, :, :280])


def test_maps_whose_transform_is_not_known_come_as_maps(sets):
    published = [ImageSet(s.images, s.labels, s.class_names, "as published") for s in sets]
    front = fit_front(published[0])
    assert connector_station(mlp_of_maps(0), *published, front=front).preparation is None


def test_a_station_comes_back_with_its_cameras(station, tmp_path):
    (images,) = photograph(draw_parts(MODES, seed=7), seed=7)
    save_station(station, tmp_path / "station.pt")
    pieces = {"front": blank_front(), "preparation": Soart()}
    again = load_station(tmp_path / "station.pt", mlp_of_maps(9), **pieces)
    pd.testing.assert_frame_equal(judge(again, images), judge(station, images), rtol=1e-4)
