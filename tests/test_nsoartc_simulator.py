import hashlib
import inspect
import subprocess
import sys
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from snnlib.nsoartc import simulator
from snnlib.nsoartc.simulator import LEVEL, Lot, Parts, Process, Shot, draw_parts, photograph

ALIKE, STILL = Process(level=0), Shot(level=0)  # parts and shots without nuisances
LEFT, CENTRE, RIGHT = range(3)
ASIDE = np.tan(np.radians(18.882))
MODES = ["OK", "31X10", "61Y-10", "92D05", "31M", "31D05+92X10", "OK"]
ARRAYS = ["modes", "x", "y", "depth", "size", "brightness", "glint"]


def shoot(parts, shot=STILL, seed=0):
    return np.concatenate(list(photograph(parts, seed=seed, shot=shot)))


def clean(*modes, lot=None, shot=STILL, seed=0):
    """Images of parts that differ in their failure modes alone."""
    return shoot(draw_parts(modes, seed=0, process=ALIKE, lot=lot), shot, seed)


def only(kind, name, value=None):
    """Nuisances of which all are 0 but one."""
    values = dict.fromkeys((field.name for field in fields(kind)), 0)
    default = getattr(kind(), name)
    return kind(**{**values, name: default if value is None else value, "level": 1})


def window(images, pin, row):
    return images[..., 22 * (row - 1) : 22 * row, 22 * (pin - 1) : 22 * pin].astype(np.float64)


def tips(*modes, pin, row):
    """What one tip adds to the images, for each mode."""
    images = window(clean(*modes, f"{pin}{row}M"), pin, row)
    return images[:-1] - images[-1]


def centroid(images):
    """Place of what is seen, in pixels: (..., 2) of x and y."""
    y, x = np.indices(images.shape[-2:])
    return (
        np.stack([(images * axis).sum((-2, -1)) for axis in (x, y)], -1)
        / images.sum((-2, -1))[..., None]
    )


def test_side_cameras_at_18_9_degrees_see_what_was_drawn_for_20(monkeypatch):
    """Depth times tangent, as registered images show it; before, times the sine of 20°."""
    assert pytest.approx([-18.882, 0, 18.882], abs=1e-3) == simulator.CAMERA_ANGLES
    slopes = np.tan(np.radians(simulator.CAMERA_ANGLES))
    np.testing.assert_allclose(simulator.PARALLAX, slopes, rtol=1e-14)
    parts = draw_parts(MODES, seed=1)
    images = shoot(parts, Shot())
    monkeypatch.setattr(simulator, "PARALLAX", np.sin(np.radians([-20.0, 0.0, 20.0])))
    assert shoot(parts, Shot()).tobytes() == images.tobytes()


LIT = (slice(11, 18), slice(4, 18), slice(4, 11))  # the side of a tip that no wall shades


def shift(before, after, camera, around=LIT):
    """How far what is seen at some columns of each camera moved in x, in pixels."""
    lit = around[camera]
    x, curve = np.arange(22), CubicSpline(np.arange(22), before[camera].sum(axis=0))
    profile = after[camera].sum(axis=0)

    def misfit(s):
        return ((profile[lit] - curve(x[lit] - s)) ** 2).sum()

    return minimize_scalar(misfit, bounds=(-4, 4), method="bounded").x


def outside(images, *pins):
    """Images without the windows of some pins."""
    images = images.copy()
    for pin, row in pins:
        images[..., 22 * (row - 1) : 22 * row, 22 * (pin - 1) : 22 * pin] = 0
    return images


def tip_places(shot, pin, row, n=100):
    """Place of a tip in the centre image of n shots, beside where it is without nuisances; px.

    Shots of a part that has the tip and of one that has not share their seed, so that the tip alone
    remains.
    """
    pairs = [clean(*[mode] * n, shot=shot) for mode in ("OK", f"{pin}{row}M")]
    seen = [window(images[:, CENTRE], pin, row) for images in pairs]
    return centroid(seen[0] - seen[1]) - centroid(tips("OK", pin=pin, row=row)[0, CENTRE])


@pytest.fixture
def level_1(monkeypatch):
    monkeypatch.setattr(simulator, "LEVEL", 1.0)


PINS = [(1, 1), (7, 2), (13, 3)]


@pytest.mark.parametrize(("pin", "row"), PINS)
def test_a_drawback_moves_the_tip_opposite_ways_in_the_side_cameras(pin, row):
    before, after = tips("OK", f"{pin}{row}D05", pin=pin, row=row)
    expected = 5 * ASIDE
    assert expected == pytest.approx(1.71, abs=0.001)
    assert shift(before, after, LEFT) == pytest.approx(-expected, abs=0.02)
    assert shift(before, after, RIGHT) == pytest.approx(expected, abs=0.02)
    assert abs(shift(before, after, CENTRE)) < 0.02
    down = (centroid(after) - centroid(before))[:, 1]
    np.testing.assert_allclose(down, 0, atol=1e-4)


def test_the_centre_camera_does_not_see_a_drawback():
    ok, half, full = clean("OK", "72D05", "72D20")
    assert np.abs(half - ok)[CENTRE].max() < 0.003
    assert np.abs(full - ok)[CENTRE].max() < 0.01
    for camera in (LEFT, RIGHT):
        assert np.abs(half - ok)[camera].max() > 0.2


def test_a_drawn_back_tip_is_smaller_by_the_pinhole_model():
    before, after = tips("OK", "72D20", pin=7, row=2)[:, CENTRE]
    assert after.sum() / before.sum() == pytest.approx((200 / 202) ** 2, abs=0.003)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(("pin", "row"), PINS)
def test_a_tilt_in_x_moves_the_tip_the_same_way_in_all_cameras(pin, row, sign):
    before, after = tips("OK", f"{pin}{row}X{sign}10", pin=pin, row=row)
    expected = float(f"{sign}1") * 58 * np.sin(np.radians(1))
    assert abs(expected) == pytest.approx(1.01, abs=0.005)
    for camera in range(3):
        assert shift(before, after, camera) == pytest.approx(expected, abs=0.01)
    moved = centroid(after) - centroid(before)
    np.testing.assert_allclose(moved[CENTRE], [expected, 0], atol=1e-3)
    np.testing.assert_allclose(moved[:, 0], expected, atol=0.15)  # the shade stays
    np.testing.assert_allclose(moved[:, 1], 0, atol=1e-4)


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize(("pin", "row"), PINS)
def test_a_tilt_in_y_moves_the_tip_the_same_way_in_all_cameras(pin, row, sign):
    before, after = tips("OK", f"{pin}{row}Y{sign}10", pin=pin, row=row)
    expected = float(f"{sign}1") * 58 * np.sin(np.radians(1))
    moved = centroid(after) - centroid(before)
    np.testing.assert_allclose(moved, np.tile([0, expected], (3, 1)), atol=1e-3)


def test_a_move_goes_with_the_amount():
    steps = ["72X05", "72X20", "72X30"]
    ok, *tilted = tips("OK", *steps, pin=7, row=2)[:, CENTRE]
    moved = [centroid(tip)[0] - centroid(ok)[0] for tip in tilted]
    np.testing.assert_allclose(moved, 58 * np.sin(np.radians([0.5, 2, 3])), atol=0.02)
    ok, *back = tips("OK", "72D02", "72D10", pin=7, row=2)
    moved = [shift(ok, tip, RIGHT) for tip in back]
    np.testing.assert_allclose(moved, np.array([2, 10]) * ASIDE, rtol=0.02)


def test_a_missing_pin_leaves_only_the_hole():
    ok, missing = clean("OK", "72M")
    hole = window(missing, 7, 2)
    assert hole.max() < simulator.FACE + 1e-3
    np.testing.assert_allclose(hole[CENTRE, 7:18, 5:17], simulator.HOLE, atol=1e-3)
    assert window(ok, 7, 2)[CENTRE, 8:14, 8:14].min() > 0.2
    assert np.array_equal(outside(ok, (7, 2)), outside(missing, (7, 2)))
    parts = draw_parts(["72M", "OK"], seed=0)
    for name in ("brightness", "glint"):
        assert np.argwhere(getattr(parts, name) == 0).tolist() == [[0, 1, 6]]


@settings(max_examples=25)
@given(
    st.integers(1, 13),
    st.integers(1, 3),
    st.sampled_from(["M", "D01", "D20", "X01", "X-50", "Y50", "Y-07"]),
)
def test_other_pins_stay_as_they_are(pin, row, kind):
    ok, off = clean("OK", f"{pin}{row}{kind}")
    assert np.array_equal(outside(ok, (pin, row)), outside(off, (pin, row)))
    assert not np.array_equal(ok, off)


def test_defects_of_two_pins_add_up():
    ok, one, other, both = clean("OK", "31D05", "92X10", "31D05+92X10")
    assert np.array_equal(outside(both, (3, 1)), outside(other, (3, 1)))
    assert np.array_equal(outside(both, (9, 2)), outside(one, (9, 2)))
    assert np.array_equal(outside(both, (3, 1), (9, 2)), outside(ok, (3, 1), (9, 2)))


def test_pins_are_one_pitch_apart():
    centre = clean("OK")[0, CENTRE]
    first = window(centre, 1, 1)[2:]  # above, a window of a lower row shows the next hole
    for pin in range(1, 14):
        for row in (1, 2, 3):
            np.testing.assert_allclose(window(centre, pin, row)[2:], first, atol=1e-6)


def test_each_camera_sees_the_glint_elsewhere():
    bright, dull = (clean("OK", lot=Lot(glint=glint)) for glint in (1.0, 0.0))
    seen = centroid(window(bright - dull, 7, 2)[0])
    np.testing.assert_allclose(seen[:, 0] - 10.5, [-1.2, 0.2, 1.3], atol=0.2)
    np.testing.assert_allclose(seen[:, 1] - 10.5, 0, atol=0.01)


def test_the_wall_of_the_cavity_shades_a_recessed_tip_in_the_side_views():
    light = tips("OK", "72D10", "72D20", pin=7, row=2).sum(axis=(2, 3))
    for camera in (LEFT, RIGHT):
        assert light[0, camera] < 0.98 * light[0, CENTRE]
        assert light[2, camera] < 0.8 * light[1, camera] < 0.8 * light[0, camera]


def test_the_hole_hides_what_lies_behind_its_edge():
    """It reaches farther down than up."""
    ok, up, down = tips("OK", "72Y-50", "72Y50", pin=7, row=2)[:, CENTRE].sum(axis=(1, 2))
    assert up < 0.95 * ok
    assert down == pytest.approx(ok, rel=0.01)


def test_side_cameras_see_the_hole_of_the_next_pin():
    left, _, right = window(clean("OK")[0], 7, 2)
    assert left[11, 0] < 0.3
    assert right[11, -1] < 0.3
    images = clean("OK")[0]
    assert window(images[LEFT], 1, 2)[11, 0] > 0.4  # there is none before the first
    assert window(images[RIGHT], 13, 2)[11, -1] > 0.4


def digest():
    parts = draw_parts(["OK", "31X10", "92D05"], seed=3)
    images = np.concatenate(list(photograph(parts, seed=4)))
    return hashlib.sha256(images.tobytes()).hexdigest()


def test_the_same_seeds_give_the_same_bytes_in_another_process():
    assert digest() == digest()
    program = "\n".join(
        [
            "import hashlib",
            "import numpy as np",
            "from snnlib.nsoartc.simulator import draw_parts, photograph",
            inspect.getsource(digest),
            "print(digest())",
        ]
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == digest()


def test_another_seed_gives_other_parts_or_another_shot():
    parts, others = draw_parts(MODES, seed=1), draw_parts(MODES, seed=2)
    for name in ARRAYS[1:]:
        assert not np.array_equal(getattr(parts, name), getattr(others, name))
    one = shoot(parts, Shot(), seed=1)
    assert not np.array_equal(one, shoot(others, Shot(), seed=1))
    again = shoot(parts, Shot(), seed=2)
    assert all(not np.array_equal(a, b) for a, b in zip(one, again))
    assert np.array_equal(one, shoot(parts, Shot(), seed=1))


def test_a_shot_leaves_the_part_as_it_is():
    parts, untouched = draw_parts(MODES, seed=1), draw_parts(MODES, seed=1)
    for seed in (0, 1):
        shoot(parts, Shot(), seed)
    for name in ARRAYS:
        assert np.array_equal(getattr(parts, name), getattr(untouched, name))


def test_each_part_gets_a_shot_of_its_own():
    images = shoot(draw_parts(["OK"], seed=0).take([0, 0, 0]), Shot())
    assert len({image.tobytes() for image in images}) == 3


def test_the_first_parts_do_not_depend_on_how_many_follow():
    few, many = draw_parts(MODES[:3], seed=5), draw_parts(MODES, seed=5)
    for name in ARRAYS:
        assert np.array_equal(getattr(few, name), getattr(many, name)[:3])
    shot = Shot(specks=3)
    assert np.array_equal(shoot(few, shot), shoot(many, shot)[:3])


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_images_do_not_depend_on_the_batch(batch, monkeypatch):
    parts = draw_parts(MODES, seed=5)
    together = shoot(parts, Shot(specks=3), seed=6)
    monkeypatch.setattr(simulator, "BATCH", batch)
    batches = list(photograph(parts, seed=6, shot=Shot(specks=3)))
    expected = [min(batch, len(MODES) - start) for start in range(0, len(MODES), batch)]
    assert [len(images) for images in batches] == expected
    assert np.array_equal(np.concatenate(batches), together)


def test_images_come_in_batches_of_at_most_50():
    batches = list(photograph(draw_parts(["OK"] * 51, seed=0), seed=0))
    assert [images.shape for images in batches] == [(50, 3, 66, 286), (1, 3, 66, 286)]


def test_images_are_shares_of_full_scale(monkeypatch):
    monkeypatch.setattr(simulator, "LEVEL", 10.0)
    images = shoot(draw_parts(MODES, seed=0), Shot())
    assert images.dtype == np.float32
    assert images.shape == (len(MODES), 3, 66, 286)
    assert images.min() == 0
    assert images.max() == 1


def test_defaults_are_the_specified_ones():
    assert asdict(Process()) == {
        "placement": 0.015,
        "depth": 0.05,
        "tilt": 0.1,
        "size": 0.02,
        "brightness": 0.05,
        "glint": 0.10,
        "level": 1.0,
    }
    assert asdict(Shot()) == {
        "noise": 0.02,
        "gain": 0.03,
        "gradient": 0.05,
        "placement": 0.05,
        "roll": 0.1,
        "yaw": 0.1,
        "stand_off": 0.1,
        "defocus": 0.3,
        "specks": 0.2,
        "level": 1.0,
    }
    parts = draw_parts(MODES, seed=0)
    chosen = draw_parts(MODES, seed=0, process=Process(), lot=Lot())
    assert np.array_equal(parts.x, chosen.x)
    photos = np.concatenate(list(photograph(parts, seed=0)))
    assert np.array_equal(photos, shoot(parts, Shot(), seed=0))


@pytest.mark.parametrize("kind", [Process, Shot])
def test_standard_deviations_go_with_both_levels(kind, monkeypatch):
    names = [field.name for field in fields(kind) if field.name != "level"]
    for name in names:
        assert kind(level=2).sd(name) == pytest.approx(2 * LEVEL * getattr(kind(), name))
    monkeypatch.setattr(simulator, "LEVEL", 0.7)
    for name in names:
        assert kind(level=3).sd(name) == pytest.approx(2.1 * getattr(kind(), name))
        assert kind(level=0).sd(name) == 0


PART_NUISANCES = {
    "placement": (["x", "y"], 0.015),
    "depth": (["depth"], 0.05),
    "tilt": (["x", "y"], 5.8 * np.radians(0.1)),
    "size": (["size"], 0.02),
    "brightness": (["brightness"], 0.05),
    "glint": (["glint"], 0.10),
}
NOMINAL = {"x": 0, "y": 0, "depth": 0, "size": 1, "brightness": 1, "glint": 1}


@pytest.mark.parametrize("name", PART_NUISANCES)
def test_good_parts_differ_as_specified(name, level_1):
    changed, sd = PART_NUISANCES[name]
    parts = draw_parts(["OK"] * 100, seed=0, process=only(Process, name))
    for array, nominal in NOMINAL.items():
        values = getattr(parts, array)
        assert values.shape == (100, 3, 13)
        if array in changed:
            assert values.std() == pytest.approx(sd, rel=0.04)
            assert values.mean() == pytest.approx(nominal, abs=0.06 * sd)
            assert len(np.unique(values)) == values.size
        else:
            assert np.all(values == nominal)


def test_the_common_level_scales_what_good_parts_differ_by(monkeypatch):
    off = {}
    for level, process in [(1.0, Process()), (2.0, Process()), (0.5, Process(level=4))]:
        monkeypatch.setattr(simulator, "LEVEL", level)
        parts = draw_parts(["OK"] * 3, seed=0, process=process)
        off[level] = np.stack([getattr(parts, name) - NOMINAL[name] for name in NOMINAL])
    np.testing.assert_allclose(off[2.0], 2 * off[1.0], atol=1e-12)
    np.testing.assert_allclose(off[0.5], 2 * off[1.0], atol=1e-12)


def test_nuisances_of_parts_are_independent(level_1):
    parts = draw_parts(["OK"] * 100, seed=0)
    arrays = [getattr(parts, name).ravel() for name in NOMINAL]
    off = np.abs(np.corrcoef(arrays)) - np.eye(len(arrays))
    assert off.max() < 0.1
    neighbours = np.corrcoef(parts.depth[..., :-1].ravel(), parts.depth[..., 1:].ravel())
    assert abs(neighbours[0, 1]) < 0.1


@pytest.mark.parametrize(("part", "shot"), [("depth", "gain"), ("tilt", "gradient")])
def test_parts_and_shots_with_the_same_seed_are_independent(part, shot, level_1):
    """These pairs stand at the same place of the two lists of nuisances."""
    modes = ["OK"] * 40
    parts = draw_parts(modes, seed=5, process=only(Process, part))
    drawn = {"depth": parts.depth, "tilt": np.stack([parts.x, parts.y], -1)}[part].ravel()
    ratios = clean(*modes, shot=only(Shot, shot), seed=5) / clean("OK")
    measured = {"gain": gains, "gradient": gradients}[shot](ratios).ravel()
    assert abs(np.corrcoef(measured, drawn[: len(measured)])[0, 1]) < 0.3


def gains(ratios):
    """Factor of each shot and camera; it is the same for all pixels."""
    np.testing.assert_allclose(ratios.std(axis=(2, 3)), 0, atol=1e-5)
    return ratios.mean(axis=(2, 3)) - 1


def gradients(ratios):
    """Change of the lighting of each shot from edge to edge, in x and in y."""
    ratios = ratios.astype(np.float64)
    np.testing.assert_allclose(ratios[:, 1:], ratios[:, :-1], atol=1e-5)
    lighting = ratios[:, CENTRE]
    in_x = (lighting[:, :, -1] - lighting[:, :, 0]).mean(axis=1)
    in_y = (lighting[:, -1] - lighting[:, 0]).mean(axis=1)
    x, y = np.linspace(-0.5, 0.5, 286), np.linspace(-0.5, 0.5, 66)[:, None]
    plane = 1 + in_x[:, None, None] * x + in_y[:, None, None] * y
    np.testing.assert_allclose(lighting, plane, atol=1e-5)
    return np.stack([in_x, in_y], axis=1)


@pytest.mark.parametrize(
    ("name", "measure", "sd"), [("gain", gains, 0.03), ("gradient", gradients, 0.05)]
)
def test_light_differs_as_specified(name, measure, sd, level_1):
    measured = measure(clean(*["OK"] * 100, shot=only(Shot, name)) / clean("OK"))
    assert measured.std() == pytest.approx(sd, rel=0.15)
    assert abs(measured.mean()) < 0.3 * sd
    assert np.abs(np.corrcoef(measured.T) - np.eye(measured.shape[1])).max() < 0.3


@pytest.mark.parametrize("level", [1.0, 0.5])
def test_sensor_noise_is_as_specified(level, monkeypatch):
    monkeypatch.setattr(simulator, "LEVEL", level)
    one, other = (clean("OK", "OK", shot=only(Shot, "noise"), seed=seed) for seed in (0, 1))
    assert (one - other).std() == pytest.approx(np.sqrt(2) * 0.02 * level, rel=0.02)
    noise = one - clean("OK")
    assert abs(noise.mean()) < 0.01 * 0.02
    for a, b in [
        (noise[..., 1:], noise[..., :-1]),
        (noise[:, 0], noise[:, 1]),
        (noise[0], noise[1]),
    ]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.02


def test_placement_in_the_jig_is_as_specified(level_1):
    near, far = (tip_places(only(Shot, "placement"), pin, 2) for pin in (1, 13))
    np.testing.assert_allclose(near, far, atol=1e-3)  # the whole part moves
    np.testing.assert_allclose(near.std(axis=0), 0.5, rtol=0.2)
    assert abs(np.corrcoef(near.T)[0, 1]) < 0.3


def test_roll_is_as_specified(level_1):
    """A turn about the line of sight: the ends of the middle row go up and down."""
    near, far = (tip_places(only(Shot, "roll"), pin, 2) for pin in (1, 13))
    np.testing.assert_allclose(near, -far, atol=1e-3)
    np.testing.assert_allclose(far[:, 0], 0, atol=1e-3)
    assert far[:, 1].std() == pytest.approx(132 * np.radians(0.1), rel=0.2)
    top = tip_places(only(Shot, "roll"), 7, 1)
    np.testing.assert_allclose(top[:, 0], far[:, 1] * 22 / 132, atol=1e-3)


def test_stand_off_is_as_specified(level_1):
    near, far = (tip_places(only(Shot, "stand_off"), pin, 2) for pin in (1, 13))
    np.testing.assert_allclose(near, -far, atol=1e-3)
    assert far[:, 0].std() == pytest.approx(132 * 0.1 / 200, rel=0.2)
    np.testing.assert_allclose(far[:, 1], 0, atol=1e-3)


def test_yaw_is_as_specified(level_1):
    """A turn about the vertical: one end comes near, the other goes off."""
    near, far = (tip_places(only(Shot, "yaw"), pin, 2) for pin in (1, 13))
    np.testing.assert_allclose(near, far, atol=1e-3)
    assert far[:, 0].std() == pytest.approx(132 * 13.2 * np.radians(0.1) / 200, rel=0.2)


@pytest.mark.parametrize(
    ("name", "pin", "sd"), [("stand_off", 7, 1.0), ("yaw", 13, 132 * np.radians(0.1))]
)
def test_depth_of_the_part_moves_the_side_images_opposite_ways(name, pin, sd, level_1):
    pairs = [clean(*[mode] * 30, shot=only(Shot, name)) for mode in ("OK", f"{pin}2M")]
    (before,) = tips("OK", pin=pin, row=2)
    left, centre, right = np.transpose(
        [
            [shift(before, after, camera) for camera in range(3)]
            for after in window(pairs[0] - pairs[1], pin, 2)
        ]
    )
    aside = (right - left) / 2
    assert aside.std() == pytest.approx(sd * ASIDE, rel=0.3)
    assert np.corrcoef(left, right)[0, 1] < -0.99
    # What is farther off is also smaller: it moves towards the middle of the image.
    slope = -2.2 * (pin - 7) / 200 / ASIDE
    np.testing.assert_allclose(centre, slope * aside, atol=0.005)


def test_the_holes_move_with_the_part(level_1):
    empty, moved = clean("72M"), clean(*["72M"] * 12, shot=only(Shot, "stand_off"))
    before, *after = window(np.concatenate([empty, moved]), 7, 2)[:, :, 8:14]
    edges = (slice(2, 10), None, slice(12, 20))  # of the hole
    aside = [[shift(before, image, camera, edges) for camera in (LEFT, RIGHT)] for image in after]
    left, right = np.transpose(aside)
    assert right.std() > 0.5 * ASIDE
    np.testing.assert_allclose(left, -right, atol=0.05)


def test_defocus_is_as_specified(level_1):
    n = 100
    pairs = [clean(*[mode] * n, shot=only(Shot, "defocus")) for mode in ("OK", "72M")]
    tip = window(pairs[0] - pairs[1], 7, 2)[:, CENTRE]
    sharp = tips("OK", pin=7, row=2)[0, CENTRE]
    x = np.arange(22)

    def spread(images):
        profile = images.sum(axis=-2) / images.sum(axis=(-2, -1))[..., None]
        return (profile * x**2).sum(axis=-1) - (profile * x).sum(axis=-1) ** 2

    blur = spread(tip) - spread(sharp)  # variances of blurs add up
    assert blur.min() > -1e-4
    assert blur.mean() == pytest.approx(0.3**2, rel=0.3)


def test_defocus_spreads_the_light_of_a_glint_and_keeps_it(level_1):
    shot = only(Shot, "defocus", 1)
    images = [clean(*["OK"] * 10, shot=shot, lot=Lot(glint=glint)) for glint in (1.0, 0.0)]
    glint = window(images[0] - images[1], 7, 2)[:, CENTRE]
    assert glint.max(axis=(1, 2)).min() < 0.6 * glint.max()
    np.testing.assert_allclose(glint.sum(axis=(1, 2)), glint[0].sum(), rtol=0.03)


def test_specks_only_darken(level_1):
    n = 50
    images, without = clean(*["OK"] * n, shot=only(Shot, "specks", 2)), clean("OK")
    assert (images <= without).all()
    assert (without - images).max() > 0.05
    one = simulator.SPECK * 2 * np.pi * (simulator.SPECK_SIZE / simulator.PIXEL) ** 2
    number = (1 - images / without).sum(axis=(2, 3)) / one
    np.testing.assert_allclose(number.mean(axis=0), 2, rtol=0.2)
    assert number[:, CENTRE].std() == pytest.approx(np.sqrt(2), rel=0.3)  # Poisson
    assert np.array_equal(clean(*["OK"] * n, shot=only(Shot, "specks", 0)), without.repeat(n, 0))


def test_specks_on_one_another_darken_more(level_1):
    images = clean("OK", "OK", shot=only(Shot, "specks", 300))
    y, x = np.indices((11, 11)) - 5
    spot = np.exp(-0.5 * (x**2 + y**2) * (simulator.PIXEL / simulator.SPECK_SIZE) ** 2)
    one = -np.log(1 - simulator.SPECK * spot).sum()
    number = -np.log(images.astype(np.float64) / clean("OK")).sum(axis=(2, 3)) / one
    np.testing.assert_allclose(number, 300, rtol=0.15)


def test_specks_lie_on_the_face_before_the_tips(level_1):
    images, without = clean(*["OK"] * 60, shot=only(Shot, "specks")), clean("OK")
    dark = 1 - images.astype(np.float64) / without
    seen = (dark > 0.02).any(axis=(2, 3))
    assert 3 <= seen.any(axis=1).sum() <= 24  # with 0.2 a face
    whole = dark.sum(axis=(2, 3))
    one = simulator.SPECK * 2 * np.pi * (simulator.SPECK_SIZE / simulator.PIXEL) ** 2
    single = np.isclose(whole, one, rtol=0.02).all(axis=1)
    assert single.sum() >= 3
    left, centre, right = np.moveaxis(centroid(dark[single]), 1, 0)
    np.testing.assert_allclose(left - centre, np.tile([10 * ASIDE, 0], (len(left), 1)), atol=0.05)
    np.testing.assert_allclose(right - centre, np.tile([-10 * ASIDE, 0], (len(left), 1)), atol=0.05)


def test_shots_without_nuisances_are_alike():
    parts = draw_parts(MODES, seed=0)
    assert np.array_equal(shoot(parts, seed=0), shoot(parts, seed=1))


def test_parts_without_nuisances_are_alike():
    parts = draw_parts(["OK"] * 3, seed=0, process=ALIKE)
    for name, nominal in NOMINAL.items():
        assert np.all(getattr(parts, name) == nominal)


def test_a_lot_has_other_plating_and_placement():
    usual = draw_parts(MODES, seed=0)
    lot = Lot(brightness=0.8, glint=1.2, placement=(0.03, -0.02))
    other = draw_parts(MODES, seed=0, lot=lot)
    assert other.lot == lot
    np.testing.assert_allclose(other.brightness, 0.8 * usual.brightness)
    np.testing.assert_allclose(other.glint, 1.2 * usual.glint)
    np.testing.assert_allclose(other.x, usual.x + 0.03)
    np.testing.assert_allclose(other.y, usual.y - 0.02)
    assert np.array_equal(other.depth, usual.depth)
    assert np.array_equal(other.size, usual.size)


def test_a_duller_lot_makes_darker_tips_in_the_same_holes():
    lot = Lot(brightness=0.5, glint=0.5)
    usual, dull, missing = (
        window(images[0], 7, 2) for images in (clean("OK"), clean("OK", lot=lot), clean("72M"))
    )
    np.testing.assert_allclose(dull - missing, 0.5 * (usual - missing), atol=1e-6)


def test_a_larger_tip_is_seen_larger():
    dull = Lot(glint=0.0)
    usual = draw_parts(["OK", "72M"], seed=0, process=ALIKE, lot=dull)
    tip, larger = (
        np.subtract(*window(shoot(replace(usual, size=size * usual.size)), 7, 2)[:, CENTRE])
        for size in (1.0, 1.1)
    )
    assert larger.sum() / tip.sum() == pytest.approx(1.1**2, rel=0.005)


def test_a_lot_with_pins_aside_shows_them_aside():
    beside = window(clean("OK", lot=Lot(placement=(0.05, 0.1))), 7, 2)[0, CENTRE]
    hole = window(clean("72M"), 7, 2)[0, CENTRE]
    moved = centroid(beside - hole) - centroid(tips("OK", pin=7, row=2)[0, CENTRE])
    np.testing.assert_allclose(moved, [0.5, 1.0], atol=1e-3)


def test_a_camera_that_moved_by_a_tenth_of_a_millimetre_sees_all_one_pixel_aside():
    before = clean("OK", "31X10")
    for camera in range(3):
        cameras = np.eye(3)[camera] * 0.1
        after = clean("OK", "31X10", lot=Lot(cameras=tuple(cameras)))
        np.testing.assert_allclose(after[:, camera, :, :-1], before[:, camera, :, 1:], atol=1e-4)
        others = [other for other in range(3) if other != camera]
        assert np.array_equal(after[:, others], before[:, others])


def test_take_gives_parts_in_any_order_and_as_often_as_wanted():
    lot = Lot(brightness=0.9, cameras=(0.1, 0.0, 0.0))
    parts = draw_parts(MODES, seed=0, lot=lot)
    chosen = np.array([3, 0, 3])
    some = parts.take(chosen)
    assert isinstance(some, Parts)
    assert (len(parts), len(some)) == (len(MODES), 3)
    assert some.modes.tolist() == ["92D05", "OK", "92D05"]
    assert some.lot == lot
    for name in ARRAYS:
        assert np.array_equal(getattr(some, name), getattr(parts, name)[chosen])
    assert np.array_equal(shoot(some), shoot(parts)[chosen])


def test_parts_keep_their_modes():
    assert draw_parts(MODES, seed=0).modes.tolist() == MODES
    assert draw_parts(np.array(MODES), seed=0).modes.tolist() == MODES


@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (["OK", "31X51"], r"unknown failure mode '31X51'.*expected OK"),
        (["NG"], "unknown failure mode 'NG'"),
        (["31X10+31Y10"], "'31X10[+]31Y10' names a pin twice"),
        ([], r"expected one failure mode a part, got shape \(0,\)"),
        ("OK", r"expected one failure mode a part, got shape \(\)"),
        ([["OK"]], r"expected one failure mode a part, got shape \(1, 1\)"),
    ],
)
def test_bad_modes(modes, message):
    with pytest.raises(ValueError, match=message):
        draw_parts(modes, seed=0)


@pytest.mark.parametrize("value", [-0.01, -np.inf, np.inf, np.nan])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, field.name) for kind in (Process, Shot) for field in fields(kind)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bad_nuisances(kind, name, value):
    with pytest.raises(
        ValueError, match=rf"^{name} of {kind.__name__} must be at least 0 and finite, got {value}"
    ):
        kind(**{name: value})


def test_seeds_are_not_negative():
    with pytest.raises(ValueError, match="non-negative"):
        draw_parts(["OK"], seed=-1)
    with pytest.raises(ValueError, match="non-negative"):
        shoot(draw_parts(["OK"], seed=0), Shot(), seed=-1)


@pytest.mark.parametrize(
    ("lot", "message"),
    [
        ({"cameras": (0.1, 0.1)}, "cameras of a lot must be 3 finite numbers"),
        ({"placement": (np.nan, 0)}, "placement of a lot must be 2 finite numbers"),
        ({"brightness": -3}, "brightness of a lot must be at least 0 and finite, got -3"),
    ],
)
def test_a_lot_that_can_not_be(lot, message):
    with pytest.raises(ValueError, match=message):
        Lot(**lot)


def test_parts_are_printed_in_a_line():
    lot = "lot=Lot(brightness=1.0, glint=1.0, placement=(0.0, 0.0), cameras=(0.0, 0.0, 0.0))"
    assert repr(draw_parts(MODES, seed=0)) == f"Parts(7 parts of 6 failure modes, {lot})"
    assert repr(draw_parts(["OK"], seed=0)) == f"Parts(1 part of 1 failure mode, {lot})"
