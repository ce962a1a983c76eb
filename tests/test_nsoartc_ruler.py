"""The ruler, on simulated parts whose drawback and tilt are known."""

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from snnlib.nsoartc.ruler import DIRECTIONS, Ruler, tip_centroids
from snnlib.nsoartc.simulator import Process, Shot, draw_parts, photograph

ALIKE, STILL = Process(level=0), Shot(level=0)  # parts and shots without nuisances
LIMITS = (0.25, 0.5, 0.5)


def shoot(parts, shot=STILL, seed=0):
    return np.concatenate(list(photograph(parts, seed=seed, shot=shot)))


def clean(*modes):
    """Images of parts that differ in their failure modes alone."""
    return shoot(draw_parts(modes, seed=0, process=ALIKE))


def only(**nuisances):
    return Shot(**{field.name: 0 for field in fields(Shot)} | {"level": 1} | nuisances)


@pytest.fixture(scope="module")
def exact():
    return Ruler().fit(clean("OK"))


@pytest.fixture(scope="module")
def ruler():
    """Fitted on good parts as they come."""
    return Ruler().fit(shoot(draw_parts(["OK"] * 12, seed=1), Shot(), seed=1))


def measured(ruler, mode, pin, row):
    """What one pin measures, by direction."""
    return dict(zip(DIRECTIONS, ruler.measure(clean(mode))[0, row - 1, pin - 1]))


def test_centroids_equal_to_a_loop():
    images = shoot(draw_parts(["OK", "31M", "92X10"], seed=2), Shot(), seed=2)
    centroids = tip_centroids(images)
    assert centroids.shape == (3, 3, 3, 13, 2)
    for place in np.ndindex(3, 3, 3, 13):
        part, camera, row, pin = place
        box = images[part, camera, 22 * row : 22 * row + 22, 22 * pin : 22 * pin + 22]
        box = box.astype(np.float64)
        face = sum(box[1, x] for x in range(22)) / 22
        light = {(x, y): max(box[y, x] - 1.1 * face, 0) for x in range(22) for y in range(22)}
        total = sum(light.values())
        if total > face:
            x, y = (sum(w * at[k] for at, w in light.items()) / total - 10.5 for k in (0, 1))
            assert centroids[place] == pytest.approx((x, y), abs=1e-5)
        else:
            assert np.isnan(centroids[place]).all()
    assert np.argwhere(np.isnan(centroids[..., 0]))[:, [0, 2, 3]].tolist() == [[1, 0, 2]] * 3


def test_centroids_move_with_the_image_and_not_with_its_brightness():
    images = shoot(draw_parts(["OK", "92Y10"], seed=2), Shot(), seed=2)
    centroids = tip_centroids(images)
    aside = tip_centroids(np.roll(images, 1, axis=3))
    np.testing.assert_allclose(aside - centroids, np.broadcast_to([1, 0], aside.shape), atol=0.03)
    np.testing.assert_allclose(tip_centroids(images / 2), centroids, atol=1e-5)


def test_an_image_without_light_shows_no_tip():
    assert np.isnan(tip_centroids(np.zeros((1, 3, 66, 286)))).all()
    assert np.isnan(tip_centroids(np.full((1, 3, 66, 286), 0.4))).all()


@pytest.mark.parametrize("grey", [0, 0.4])
def test_a_part_without_any_tip_is_missing_its_first_pin(exact, grey):
    images = np.concatenate([clean("92X10"), np.full((1, 3, 66, 286), grey)])
    assert np.isnan(exact.measure(images)[1]).all()
    for limits in (LIMITS, (np.inf, np.inf, np.inf)):
        assert exact.inspect(images, limits).values[1].tolist() == ["11M", np.inf]
    alone = exact.inspect(images[:1], LIMITS)
    pd.testing.assert_frame_equal(exact.inspect(images, LIMITS)[:1], alone)


@pytest.mark.parametrize(("brightness", "seen"), [(0.83, False), (0.85, True)])
def test_how_faint_a_tip_may_be(brightness, seen):
    """On a face of 0.4 light counts above 0.44, and there must be more of it than 0.4."""
    images = np.full((1, 3, 66, 286), 0.4)
    images[0, 2, 22 + 15, 44 + 6] = brightness
    expected = np.full((1, 3, 3, 13, 2), np.nan)
    if seen:
        expected[0, 2, 1, 2] = 6 - 10.5, 15 - 10.5
    np.testing.assert_allclose(tip_centroids(images), expected, atol=1e-9)


@pytest.mark.parametrize(("pin", "row"), [(1, 1), (13, 1), (7, 2), (1, 3), (13, 3)])
def test_known_amounts(exact, pin, row):
    """Walls shade a tip that is drawn back, so that it seems a little less so."""
    expected = {"D": (0.35, 0.5), "X": (0.94, 1.02), "Y": (0.98, 1.02)}
    for direction, amount in (("D", "05"), ("X", "10"), ("Y", "10")):
        found = measured(exact, f"{pin}{row}{direction}{amount}", pin, row)
        low, high = expected[direction]
        assert low < found.pop(direction) < high
        assert np.abs([*found.values()]).max() < 0.02


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_more_measures_more(exact, direction):
    amounts = [2, 4, 6, 8, 10]
    found = [measured(exact, f"62{direction}{a:02}", 6, 2)[direction] for a in amounts]
    assert (np.diff(found) > 0.05).all()
    if direction != "D":
        assert found == pytest.approx(np.array(amounts) / 10, abs=0.06)


@pytest.mark.parametrize("direction", ["X", "Y"])
def test_a_reversed_tilt_is_negative(exact, direction):
    there = measured(exact, f"31{direction}10", 3, 1)[direction]
    back = measured(exact, f"31{direction}-10", 3, 1)[direction]
    assert back < -0.94
    assert back == pytest.approx(-there, abs=0.01)


@pytest.mark.parametrize("camera", range(3))
def test_what_each_camera_tells(exact, camera):
    """One tip moved by a pixel, 0.1 mm, in one image only: a third of it in the mean of three."""
    moved = np.repeat(clean("OK"), 2, axis=0)
    for image, axis in zip(moved, (1, 0)):  # in x, then in y
        hole = image[camera, 24:44, 44:66]
        hole[:] = np.roll(hole, 1, axis=axis)
    in_x, in_y = exact.measure(moved)[:, 1, 2]
    tilt = np.degrees(np.arcsin(0.1 / 3 / 5.8))
    drawback = [-1, 0, 1][camera] * 0.1 / (2 * np.tan(np.radians(18.882)))
    assert in_x == pytest.approx([drawback, tilt, 0], abs=0.005)
    assert in_y == pytest.approx([0, 0, tilt], abs=0.005)


def pushed_out(millimetres):
    """A part whose pin 5 of row 2 comes nearer to the cameras."""
    part = draw_parts(["OK"], seed=0, process=ALIKE)
    depth = part.depth.copy()
    depth[0, 1, 4] -= millimetres
    return shoot(replace(part, depth=depth))


def test_a_pin_that_is_pushed_out(exact):
    assert exact.measure(pushed_out(0.3))[0, 1, 4] == pytest.approx([-0.3, 0, 0], abs=0.03)
    assert exact.inspect(pushed_out(0.3), LIMITS).verdict.tolist() == ["52D-"]


def test_one_pin_off_leaves_the_others_alone(exact):
    """All other pins are as they were: the median over the pins does not feel one of them."""
    found = exact.measure(clean("OK", "31D05", "92X10", "61M"))
    assert found.shape == (4, 3, 13, 3)
    for part, (row, pin) in enumerate([(0, 0), (0, 2), (1, 8), (0, 5)]):
        others = np.delete(found[part].reshape(39, 3), 13 * row + pin, axis=0)
        np.testing.assert_allclose(others, 0, atol=1e-5)


def test_what_all_pins_have_in_common_is_no_defect(exact):
    images = shoot(draw_parts(["OK"] * 20, seed=0, process=ALIKE), only(placement=0.05))
    assert np.abs(tip_centroids(images) - exact.mean_).max() > 0.5  # pixels
    np.testing.assert_allclose(exact.measure(images), 0, atol=0.05)


@pytest.mark.parametrize("pixels", [-1, 1])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_part_that_lies_a_tenth_of_a_millimetre_off_measures_the_same(exact, axis, pixels):
    images = clean("OK", "31X10", "92D05", "133Y10", "71M")
    aside = exact.measure(np.roll(images, pixels, axis=axis))
    np.testing.assert_allclose(aside[0], 0, atol=0.005)
    np.testing.assert_allclose(aside, exact.measure(images), atol=0.02)


def test_a_good_part_measures_little_and_a_defect_is_found_among_the_spread(ruler):
    modes = ["OK", "31X10", "61Y-10", "92D05", "131Y10", "31M"]
    images = shoot(draw_parts(np.repeat(modes, 10), seed=3), Shot(), seed=3)
    table = ruler.inspect(images, (0.2, 0.7, 0.7))
    verdicts = table.verdict.to_numpy().reshape(6, 10)
    expected = np.array(["OK", "31X", "61Y-", "92D", "131Y", "31M"])[:, None]
    assert (verdicts == expected).mean() > 0.95


def test_where_tips_belong_is_the_mean_of_good_parts():
    images = shoot(draw_parts(["OK", "OK", "31M"], seed=1), Shot(), seed=1)
    assert Ruler().fit(images).mean_.shape == (3, 3, 13, 2)
    centroids = tip_centroids(images)
    expected = centroids.mean(axis=0)
    expected[:, 0, 2] = centroids[:2, :, 0, 2].mean(axis=0)  # only two parts have this pin
    np.testing.assert_allclose(Ruler().fit(images).mean_, expected)


def test_codes_of_defects(exact):
    modes = ["OK", "31X10", "31X-10", "103D05", "131Y20", "12Y-10", "73M", "31X10+92Y-20"]
    table = exact.inspect(clean(*modes), LIMITS)
    assert table.columns.tolist() == ["verdict", "share"]
    assert table.verdict.tolist() == (["OK", "31X", "31X-", "103D", "131Y", "12Y-", "73M", "92Y-"])
    assert table.share.to_numpy() == pytest.approx([0, 2, 2, 1.75, 4, 2, np.inf, 4], abs=0.15)


@pytest.mark.parametrize("camera", range(3))
def test_a_tip_that_one_camera_does_not_see_is_missing(exact, camera):
    images = clean("92X10")
    images[0, camera, :22, 44:66] = clean("31M")[0, camera, :22, 44:66]
    table = exact.inspect(images, LIMITS)
    assert table.values.tolist() == [["31M", np.inf]]


def test_verdicts_equal_to_a_loop(ruler):
    modes = ["OK", "31X10", "61Y10", "92D05", "31M"] * 4
    images = shoot(draw_parts(modes, seed=4), Shot(), seed=4)
    limits = (0.05, 0.2, 0.3)
    for part, row in zip(ruler.measure(images), ruler.inspect(images, limits).itertuples()):
        worst, code = 0, "OK"
        for r, pin, k in np.ndindex(3, 13, 3):
            missing = np.isnan(part[r, pin, k])
            share = np.inf if missing else abs(part[r, pin, k]) / limits[k]
            if share > worst:
                sign = "-" if part[r, pin, k] < 0 else ""
                worst, code = share, f"{pin + 1}{r + 1}{'M' if missing else DIRECTIONS[k] + sign}"
        assert row.share == pytest.approx(worst)
        assert row.verdict == (code if worst > 1 else "OK")


def test_a_part_within_its_limits_passes(exact):
    images = clean("31X10")
    (share,) = exact.inspect(images, (1, 1, 1)).share
    assert exact.inspect(images, (9, share * 1.001, 9)).verdict.tolist() == ["OK"]
    assert exact.inspect(images, (9, share * 0.999, 9)).verdict.tolist() == ["31X"]
    assert exact.inspect(images, (9, np.inf, 9)).share.item() < 0.01


def test_parts_are_measured_each_by_itself(ruler):
    images = shoot(draw_parts(["OK", "31X10", "31M"], seed=5), Shot(), seed=5)
    together = ruler.measure(images)
    for image, found in zip(images, together):
        np.testing.assert_allclose(ruler.measure(image[None])[0], found, atol=1e-9)


def test_an_estimator_like_others(exact):
    before = exact.mean_.copy()
    copied = clone(exact)
    assert not hasattr(copied, "mean_")
    assert np.array_equal(copied.fit(clean("OK"), y=[0]).mean_, before)
    assert copied.get_params() == {}
    images = clean("31X10")
    kept = images.copy()
    exact.inspect(images, LIMITS)
    assert np.array_equal(images, kept)
    assert np.array_equal(exact.mean_, before)


@pytest.mark.parametrize(
    "limits",
    [
        (1, 1),
        (1, 1, 1, 1),
        (),
        (0, 1, 1),
        (1, 1, -0.1),
        (np.nan, 1, 1),
        (1, np.nan, 1),
        (1, 1, np.nan),
    ],
)
def test_bad_limits(exact, limits):
    with pytest.raises(ValueError, match="expected three limits above 0, got"):
        exact.inspect(clean("OK"), limits)


def test_before_fit():
    for use in (Ruler().measure, lambda images: Ruler().inspect(images, LIMITS)):
        with pytest.raises(NotFittedError):
            use(clean("OK"))


def test_bad_images(exact):
    good = clean("OK")
    spoilt = good.copy()
    spoilt[0, 2, 5, 7] = np.nan
    for use in (tip_centroids, Ruler().fit, exact.measure, lambda x: exact.inspect(x, LIMITS)):
        with pytest.raises(ValueError, match="nan in image 0, channel 2, row 5, column 7"):
            use(spoilt)
        shape = r"shape \(n ≥ 1, \*\(3, 66, 286\)\), got"
        with pytest.raises(ValueError, match=rf"{shape} \(1, 2, 66, 286\)"):
            use(good[:, :2])
        with pytest.raises(ValueError, match=rf"{shape} \(0, 3, 66, 286\)"):
            use(good[:0])
        with pytest.raises(ValueError, match=r"4 dimensions .*\(3, 66, 286\)"):
            use(good[0])
        with pytest.raises(TypeError, match="floating-point NumPy array, got uint8"):
            use((255 * good).astype(np.uint8))


def test_a_pin_that_no_good_part_shows():
    with pytest.raises(ValueError, match="no good part shows a tip at pin 9, row 2 in the left"):
        Ruler().fit(clean("92M", "92M"))
    images = clean("OK")
    images[0, 2, 44:, 264:] = clean("133M")[0, 2, 44:, 264:]
    with pytest.raises(ValueError, match="no good part shows a tip at pin 13, row 3 in the right"):
        Ruler().fit(images)
