"""Is it a photograph of the kind that the station knows?"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from snnlib.station.checks import Checks, brightness_and_sharpness

Y, X = np.mgrid[:12, :17]


def as_photograph(plane):
    """A plane (h, w) as one photograph (1, 3, h, w)."""
    return np.repeat(plane[None, None].astype(np.float32), 3, axis=1)


@pytest.mark.parametrize(
    ("plane", "brightness", "sharpness"),
    [
        (np.full((12, 17), 0.3), 0.3, 0),
        (X / 16, 0.5, 0),  # a ramp has no second difference
        (Y / 11 + X / 16, 1.0, 0),
        ((X + Y) % 2, 0.5, 16),  # ±4 in turn
        (X % 2, 8 / 17, 4 * (1 - 1 / 15**2)),  # stripes: +2 for 8 of 15 columns, else -2
        ((X // 2 + Y // 2) % 2 * 0.1, None, None),
    ],
    ids=["constant", "ramp", "slope", "checkerboard", "stripes", "coarse checkerboard"],
)
def test_closed_forms(plane, brightness, sharpness):
    ((found, sharp),) = brightness_and_sharpness(as_photograph(plane))
    if brightness is None:  # two neighbours of four are of the other colour, wherever
        brightness, sharpness = plane.mean(), 0.2**2
    assert found == pytest.approx(brightness, abs=1e-6)
    assert sharp == pytest.approx(sharpness, rel=0.02, abs=1e-10)


def test_equal_to_the_laplacian_of_another_library():
    images = np.random.default_rng(0).random((4, 3, 9, 11)).astype(np.float32)
    measured = brightness_and_sharpness(images)
    assert measured.shape == (4, 2)
    for image, (brightness, sharpness) in zip(images.astype(float), measured):
        grey = image.mean(axis=0)
        inside = ndimage.laplace(grey)[1:-1, 1:-1]
        assert brightness == pytest.approx(grey.mean(), rel=1e-5)
        assert sharpness == pytest.approx(inside.var(), rel=1e-4)


def test_a_lamp_makes_photographs_brighter_and_a_lens_blurs_them():
    image = np.random.default_rng(0).random((1, 3, 40, 40)).astype(np.float32)
    blurred = ndimage.gaussian_filter(image, (0, 0, 1, 1))
    (bright, sharp), (same, less) = (brightness_and_sharpness(i)[0] for i in (image, blurred))
    assert same == pytest.approx(bright, rel=1e-2)
    assert less < 0.01 * sharp
    ((half, quarter),) = brightness_and_sharpness(image / 2)
    assert (half, quarter) == pytest.approx((bright / 2, sharp / 4), rel=1e-5)


def test_three_by_three_pixels_are_enough():
    ((_, sharpness),) = brightness_and_sharpness(np.ones((1, 1, 3, 3), dtype=np.float32))
    assert sharpness == 0


def test_ranges_are_those_of_good_photographs_and_half_as_much_on_either_side():
    measured = np.array([[0.4, 8.0], [0.5, 10.0], [0.6, 40.0]])
    checks = Checks.of(measured)
    np.testing.assert_allclose(checks.low, [0.3, -8])
    np.testing.assert_allclose(checks.high, [0.7, 56])


def test_photographs_in_one_light_are_given_a_tenth_of_it_and_half_or_twice_the_sharpness():
    checks = Checks.of(np.array([[0.5, 8.0], [0.5, 8.0]]))
    np.testing.assert_allclose(checks.low, [0.45, 4])
    np.testing.assert_allclose(checks.high, [0.55, 16])
    narrow = Checks.of(np.array([[0.49, 8.0], [0.51, 8.0]]))
    np.testing.assert_allclose((narrow.low[0], narrow.high[0]), (0.44, 0.56))


CHECKS = Checks(np.array([0.3, 2.0]), np.array([0.7, 26.0]))


@pytest.mark.parametrize(
    ("measured", "fault"),
    [
        ((0.5, 10.0), ""),
        ((0.3, 2.0), ""),  # the ends are within
        ((0.7, 26.0), ""),
        ((0.2, 10.0), "too dark: brightness 0.2, expected 0.3 … 0.7"),
        ((0.9, 10.0), "too bright: brightness 0.9, expected 0.3 … 0.7"),
        ((0.5, 1.0), "too blurred: sharpness 1, expected 2 … 26"),
        ((0.5, 30.0), "too sharp or noisy: sharpness 30, expected 2 … 26"),
        ((0.1, 99.0), "too dark: brightness 0.1, expected 0.3 … 0.7"),  # light comes first
        ((np.nan, 10.0), "too dark: brightness nan, expected 0.3 … 0.7"),
    ],
)
def test_faults_in_words(measured, fault):
    assert CHECKS.fault(np.array(measured)) == fault


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=1, max_size=20))
def test_good_photographs_have_no_fault(measured):
    checks = Checks.of(np.array(measured))
    assert not any(checks.fault(np.array(one)) for one in measured)
    assert (checks.low <= checks.high).all()
