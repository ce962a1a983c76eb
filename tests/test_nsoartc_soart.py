import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from snnlib.nsoartc.simulator import Process, Shot, draw_parts, photograph
from snnlib.nsoartc.soart import (
    CAMERAS,
    EYES,
    IMAGE_SHAPE,
    KERNELS,
    MAP_SHAPE,
    METRICS,
    PATTERNS,
    Place,
    Soart,
    locate,
    position,
)

SHAPES = {
    "LINE across": [".....", ".....", "#####", ".....", "....."],
    "LINE down": ["..#..", "..#..", "..#..", "..#..", "..#.."],
    "LINE aslant": ["#....", ".#...", "..#..", "...#.", "....#"],
    "BEND right-down": [".....", ".....", "..###", "..#..", "..#.."],
    "BEND right-up": ["..#..", "..#..", "..###", ".....", "....."],
    "BEND left-down": [".....", ".....", "###..", "..#..", "..#.."],
}


def random_images(n, seed, dtype=np.float32):
    return np.random.default_rng(seed).random((n, *IMAGE_SHAPE)).astype(dtype)


def simulated(modes, seed=0, level=1.0):
    parts = draw_parts(modes, seed=seed, process=Process(level=level))
    return np.concatenate(list(photograph(parts, seed=seed + 1, shot=Shot(level=level))))


def naive_responses(images):
    """Responses of images to the six patterns (..., 66, 286), one correlation at a time."""
    images = np.asarray(images, dtype=np.float64)
    found = np.empty((len(KERNELS), *images.shape))
    for q, kernel in enumerate(KERNELS.astype(np.float64)):
        for i in np.ndindex(images.shape[:-2]):
            found[(q, *i)] = correlate(images[i], kernel, mode="nearest")
    return found


def naive_metrics(images, good):
    """By part, camera, pin row, pin column and metric, with the formulae of the textbook."""
    reference = naive_responses(good.mean(axis=0, dtype=np.float64))
    responses = naive_responses(images)
    metrics = np.empty((len(images), 3, 3, 13, 12))
    for q, i, camera, row, column in np.ndindex(6, len(images), 3, 3, 13):
        cut = np.s_[22 * row : 22 * row + 22, 22 * column : 22 * column + 22]
        x, mean = responses[q, i, camera][cut].ravel(), reference[q, camera][cut].ravel()
        total, r, linear = x @ x, mean @ mean, mean @ x
        error = np.sqrt(max(total - linear**2 / r, 0) / (22**2 - 1))
        metrics[i, camera, row, column, 2 * q : 2 * q + 2] = linear / r, error
    return metrics


ROUNDING = 1e-5  # more than the last digits of a metric, which depend on its place in the batch


def tiles(maps):
    """Maps as (n, row, column, metric, eye)."""
    return maps.reshape(-1, 3, 12, 13, 3).transpose(0, 1, 3, 2, 4)


GOOD = simulated(["OK"] * 8)


@pytest.fixture(scope="module")
def soart():
    return Soart().fit(GOOD)


def test_parts_have_their_shapes():
    assert tuple(SHAPES) == PATTERNS
    assert KERNELS.shape == (6, 5, 5)
    assert KERNELS.dtype == np.float32
    for kernel, shape in zip(KERNELS, SHAPES.values()):
        assert [["#" if weight > 0 else "." for weight in row] for row in kernel] == [
            list(row) for row in shape
        ]


def test_kernels_are_the_mean_on_the_part_less_the_mean_around_it():
    fields = np.random.default_rng(0).random((20, 5, 5))
    for kernel, shape in zip(KERNELS, SHAPES.values()):
        on = np.array([list(row) for row in shape]) == "#"
        assert (on.sum(), (~on).sum()) == (5, 20)
        assert kernel.sum(dtype=np.float64) == pytest.approx(0, abs=1e-6)
        expected = fields[:, on].mean(axis=1) - fields[:, ~on].mean(axis=1)
        np.testing.assert_allclose((fields * kernel).sum(axis=(1, 2)), expected, atol=1e-6)


def test_names_and_shapes():
    assert CAMERAS == ("left", "centre", "right")
    assert EYES == ("left − centre", "right − centre", "centre")
    assert [metric.rsplit(", ", 1) for metric in METRICS] == [
        [part, name] for part in PATTERNS for name in ("β", "Y₂")
    ]
    assert IMAGE_SHAPE == (3, 66, 286)
    assert MAP_SHAPE == (36, 39)


@pytest.mark.parametrize("n", [1, 3, 4, 9])
@settings(max_examples=4)
@given(seed=st.integers(0, 10_000))
def test_equal_to_a_naive_loop_on_random_images(n, seed):
    good = random_images(3, seed + 1)
    images = random_images(n, seed)
    found = Soart().fit(good).metrics(images)
    assert found.dtype == np.float32
    assert found.shape == (n, 3, 3, 13, 12)
    np.testing.assert_allclose(found, naive_metrics(images, good), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 4, 9])
def test_equal_to_a_naive_loop_on_simulated_images(n, soart):
    images = simulated(["31D05", "OK", "61Y10", "92X-10", "31M", *["OK"] * 4], seed=7)[:n]
    expected = naive_metrics(images, GOOD)
    np.testing.assert_allclose(soart.metrics(images), expected, rtol=1e-5, atol=1e-5)
    left, centre, right = np.moveaxis(expected, 1, 0)
    maps = np.empty((n, 36, 39))
    for row, column, metric in np.ndindex(3, 13, 12):
        values = [array[:, row, column, metric] for array in (left, centre, right)]
        eyes = [values[0] - values[1], values[2] - values[1], values[1]]
        for eye, value in enumerate(eyes):
            maps[:, 12 * row + metric, 3 * column + eye] = value
    np.testing.assert_allclose(soart.transform(images), maps.reshape(n, -1), rtol=1e-5, atol=2e-5)


def test_what_is_learned_equals_a_naive_loop(soart):
    mean = GOOD.mean(axis=0, dtype=np.float64)
    responses = naive_responses(mean)
    np.testing.assert_allclose(soart.mean_, mean, atol=1e-7)
    np.testing.assert_allclose(soart.responses_, responses, atol=1e-6)
    squares = (responses**2).reshape(6, 3, 3, 22, 13, 22).sum(axis=(3, 5))
    np.testing.assert_allclose(soart.dividers_, squares, rtol=1e-5)
    for array, shape in [
        (soart.mean_, (3, 66, 286)),
        (soart.responses_, (6, 3, 66, 286)),
        (soart.dividers_, (6, 3, 3, 13)),
    ]:
        assert array.dtype == np.float32
        assert array.shape == shape


def test_channels_are_differences_to_the_centre_and_the_centre(soart):
    images = simulated(["31D05", "OK", "92X10"], seed=3)
    metrics, maps = soart.metrics(images), soart.transform(images).reshape(3, 36, 39)
    for row in range(3):
        for metric in range(12):
            left, centre, right = np.moveaxis(metrics[:, :, row, :, metric], 1, 0)
            line = maps[:, 12 * row + metric]
            assert np.array_equal(line[:, 0::3], left - centre)
            assert np.array_equal(line[:, 1::3], right - centre)
            assert np.array_equal(line[:, 2::3], centre)


def test_values_lie_where_locate_says(soart):
    images = simulated(["31D05"], seed=3)
    (metrics,), (values,) = soart.metrics(images), soart.transform(images)
    cameras = dict(zip(CAMERAS, metrics))
    for value in range(0, 1404, 7):
        pin, row, eye, metric = locate(value)
        seen = [
            cameras[camera][row - 1, pin - 1, METRICS.index(metric)] for camera in eye.split(" − ")
        ]
        assert values[value] == (seen[0] if len(seen) == 1 else seen[0] - seen[1])


def test_locate_and_position_are_inverse():
    places = [locate(value) for value in range(1404)]
    assert [position(place) for place in places] == list(range(1404))
    assert len(set(places)) == 1404
    assert {place.pin for place in places} == set(range(1, 14))
    assert {place.row for place in places} == {1, 2, 3}
    assert {place.eye for place in places} == set(EYES)
    assert {place.metric for place in places} == set(METRICS)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (0, Place(1, 1, "left − centre", "LINE across, β")),
        (1, Place(1, 1, "right − centre", "LINE across, β")),
        (2, Place(1, 1, "centre", "LINE across, β")),
        (3, Place(2, 1, "left − centre", "LINE across, β")),
        (39, Place(1, 1, "left − centre", "LINE across, Y₂")),
        (817, Place(13, 2, "right − centre", "BEND right-up, β")),
        (1403, Place(13, 3, "centre", "BEND left-down, Y₂")),
    ],
)
def test_examples_of_places(value, place):
    assert locate(value) == place
    assert position(place) == value
    assert position(tuple(place)) == value


@pytest.mark.parametrize("value", [-1, 1404, 10_000])
def test_values_off_the_map(value):
    with pytest.raises(ValueError, match=rf"value must lie in 0 … 1403, got {value}"):
        locate(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pin": 0}, r"pin must be one of \[1, 2, .*13\], got 0"),
        ({"pin": 14}, r"pin must be one of \[1, 2, .*13\], got 14"),
        ({"row": 0}, r"row must be one of \[1, 2, 3\], got 0"),
        ({"row": 4}, r"row must be one of \[1, 2, 3\], got 4"),
        ({"eye": "left"}, r"eye must be one of \['left − centre', .*'centre'\], got 'left'"),
        ({"metric": "LINE"}, r"metric must be one of \['LINE across, β'.*\], got 'LINE'"),
    ],
)
def test_places_off_the_map(change, message):
    with pytest.raises(ValueError, match=message):
        position(locate(817)._replace(**change))


def changed_tiles(soart, before, after):
    """Places (row, column) of the tiles that differ, from 0."""
    one, other = tiles(soart.transform(np.stack([before, after])))
    changed = np.abs(one - other).max(axis=(2, 3)) > ROUNDING
    return {tuple(place) for place in np.argwhere(changed).tolist()}


@pytest.mark.parametrize(
    ("code", "places"),
    [
        ("11X10", {(0, 0)}),
        ("72D05", {(1, 6)}),
        ("72D02", {(1, 6)}),
        ("131Y-10", {(0, 12)}),
        ("13M", {(2, 0)}),
        ("31D05+92X10", {(0, 2), (1, 8)}),
    ],
)
def test_a_defect_changes_only_the_tile_of_its_pin(code, places, soart):
    assert changed_tiles(soart, *simulated(["OK", code], level=0)) == places


def test_a_tip_far_aside_reaches_at_most_into_the_next_tiles(soart):
    before, after = simulated(["OK", "72D20"], level=0)
    assert (1, 6) in changed_tiles(soart, before, after) <= {(1, 5), (1, 6), (1, 7)}
    one, other = tiles(soart.transform(np.stack([before, after])))
    change = np.abs(one - other).max(axis=(2, 3))
    assert change[1, 6] > 10 * max(change[1, 5], change[1, 7])


@pytest.mark.parametrize(
    ("row", "column"), [(0, 0), (1, 6), (2, 12), (0, 12)], ids=lambda value: str(value)
)
def test_a_part_reaches_two_pixels_into_the_next_window(row, column, soart):
    image = GOOD[0]
    top, left = 22 * row, 22 * column

    def changed(margin):
        after = image.copy()
        inner = np.s_[:, top + margin : top + 22 - margin, left + margin : left + 22 - margin]
        after[inner] += 0.1 * random_images(1, seed=0)[0][inner]
        return changed_tiles(soart, image, after)

    around = {
        (r, c)
        for r in range(max(row - 1, 0), min(row + 2, 3))
        for c in range(max(column - 1, 0), min(column + 2, 13))
    }
    assert changed(0) == changed(1) == around
    assert changed(2) == {(row, column)}


def test_one_camera_changes_its_own_channels_alone(soart):
    images = GOOD[:1].repeat(4, axis=0)
    for camera in range(3):
        images[camera + 1, camera] += 0.1 * random_images(1, seed=0)[0, camera]
    same, *others = tiles(soart.transform(images))
    changes = [np.abs(other - same).max(axis=(0, 1, 2)) for other in others]
    changed = [(change > ROUNDING).tolist() for change in changes]
    assert changed == [
        [True, False, False],
        [True, True, True],
        [False, True, False],
    ]


def test_the_mean_image_is_like_itself(soart):
    metrics = soart.metrics(soart.mean_[None])
    assert np.all(metrics[..., 0::2] == 1)
    assert np.all(metrics[..., 1::2] == 0)
    (values,) = tiles(soart.transform(soart.mean_[None]))
    assert not values[..., :2].any()
    assert np.all(values[..., 0::2, 2] == 1)
    assert not values[..., 1::2, 2].any()


@pytest.mark.parametrize("factor", [0.25, 0.9, 1.1, 2.0])
def test_a_brighter_mean_image_has_another_sensitivity_and_no_error(factor, soart):
    metrics = soart.metrics(np.float32(factor) * soart.mean_[None])
    np.testing.assert_allclose(metrics[..., 0::2], factor, atol=1e-5)
    np.testing.assert_allclose(metrics[..., 1::2], 0, atol=1e-4)


def test_brightness_that_is_the_same_everywhere_does_not_count(soart):
    """The parts have a sum of zero."""
    images = simulated(["31D05"], level=0)
    np.testing.assert_allclose(
        soart.metrics(images + np.float32(0.25)), soart.metrics(images), atol=1e-5
    )


def test_good_parts_average_a_sensitivity_of_1(soart):
    np.testing.assert_allclose(soart.metrics(GOOD)[..., 0::2].mean(axis=0), 1, atol=1e-5)


def test_a_part_does_not_depend_on_its_neighbours_in_the_batch(soart):
    images = simulated(["OK", "31X10", "92D05", "61Y10", "31M", "OK"], seed=9)
    together = soart.transform(images)
    alone = np.concatenate([soart.transform(images[i : i + 1]) for i in range(6)])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    np.testing.assert_allclose(soart.transform(images[::-1]), together[::-1], atol=1e-6)


def test_double_precision_images_give_the_same_map(soart):
    images = simulated(["OK", "31X10", "92D05", "61Y10", "31M"], seed=9)
    double = Soart().fit(GOOD.astype(np.float64))
    np.testing.assert_allclose(double.mean_, soart.mean_, atol=1e-7)
    maps = [soart.transform(images), double.transform(images.astype(np.float64))]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    for values in maps:
        assert values.dtype == np.float32
        assert values.shape == (5, 1404)
    assert double.metrics(images.astype(np.float64)).dtype == np.float32


def test_images_stay_as_they_are(soart):
    images = simulated(["OK", "31X10"], seed=9)
    before = images.copy()
    Soart().fit(images)
    soart.transform(images)
    soart.metrics(images)
    assert np.array_equal(images, before)


def test_a_view_gives_the_map_of_its_copy(soart):
    images = simulated(["OK", "31X10", "92D05", "61Y10"], seed=9)[::-2]
    assert np.array_equal(soart.transform(images), soart.transform(images.copy()))


def test_fit_can_be_repeated_and_cloned(soart):
    images = simulated(["OK"] * 3, seed=9)
    again = clone(soart).fit(images).fit(GOOD)
    assert np.array_equal(again.transform(images), soart.transform(images))
    np.testing.assert_array_equal(Soart().fit_transform(GOOD), soart.transform(GOOD))


def test_one_good_part_is_enough():
    soart = Soart().fit(GOOD[:1])
    metrics = soart.metrics(GOOD[:1])
    np.testing.assert_allclose(metrics[..., 0::2], 1, atol=1e-6)
    np.testing.assert_allclose(metrics[..., 1::2], 0, atol=1e-6)


USES = [
    lambda soart, images: soart.fit(images),
    lambda soart, images: soart.transform(images),
    lambda soart, images: soart.metrics(images),
]
uses = pytest.mark.parametrize("use", USES, ids=["fit", "transform", "metrics"])


def fitted():
    return Soart().fit(GOOD[:1])


@uses
@pytest.mark.parametrize(
    "shape", [(2, 3, 66, 285), (2, 3, 65, 286), (2, 2, 66, 286), (2, 3, 286, 66), (0, 1, 66, 286)]
)
def test_images_of_another_shape_are_refused(use, shape):
    with pytest.raises(
        ValueError,
        match=r"shape \(n, 3, 66, 286\): 3 cameras, 66 rows, 286 columns; got "
        rf"\({', '.join(map(str, shape))}\)",
    ):
        use(fitted(), np.zeros(shape, dtype=np.float32))


@uses
def test_one_image_is_no_batch(use):
    with pytest.raises(ValueError, match=r"4 dimensions .*got shape \(3, 66, 286\)"):
        use(fitted(), GOOD[0])


@uses
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_named(use, value):
    images = GOOD[:3].copy()
    images[2, 1, 33, 7] = value
    with pytest.raises(ValueError, match=rf"got {value} in image 2, channel 1, row 33, column 7"):
        use(fitted(), images)


@uses
@pytest.mark.parametrize(
    ("convert", "kind"),
    [
        (np.ndarray.tolist, "list"),
        (lambda images: (255 * images).astype(np.uint8), "uint8"),
        (lambda images: images.astype(int), "int64"),
        (lambda images: images > 0.5, "bool"),
    ],
    ids=["list", "uint8", "int", "bool"],
)
def test_what_is_no_floating_point_array_is_refused(use, convert, kind):
    with pytest.raises(TypeError, match=f"floating-point NumPy array, got {kind}"):
        use(fitted(), convert(GOOD[:1]))


def test_an_empty_unit_space_is_refused():
    with pytest.raises(ValueError, match="the unit space is empty: expected at least one good"):
        Soart().fit(GOOD[:0])


def test_no_images_give_no_maps(soart):
    assert soart.metrics(GOOD[:0]).shape == (0, 3, 3, 13, 12)
    maps = soart.transform(GOOD[:0])
    assert maps.shape == (0, 1404)
    assert maps.dtype == np.float32


@pytest.mark.parametrize("use", USES[1:], ids=["transform", "metrics"])
def test_nothing_works_before_fit(use):
    with pytest.raises(NotFittedError, match="Soart instance is not fitted"):
        use(Soart(), GOOD)


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3))
def test_even_greys_are_no_reference(greys):
    """Whatever rounding makes of them."""
    images = np.multiply.outer(np.float32(greys), np.ones(IMAGE_SHAPE, dtype=np.float32))
    with pytest.raises(
        ValueError,
        match=r"the mean good response is too faint at position \(\d, \d, \d, \d+\): its effective "
        r"divider .* must be above 1e-12 of the mean S_T",
    ):
        Soart().fit(images)


def test_a_reference_that_is_too_faint_for_its_patterns_is_refused():
    """Patterns that cancel in the mean."""
    pattern = np.sign(random_images(1, seed=0) - 0.5) / 4
    images = np.concatenate([0.5 + pattern, 0.5 - pattern])
    (window,) = naive_responses(pattern)[:1, 0, 0, :22, :22]
    total = f"{(window**2).sum():.3g}"
    with pytest.raises(ValueError, match=rf"too faint at .*divider 0 .*mean S_T, {total}$"):
        Soart().fit(images)


def test_the_pin_without_a_pattern_is_named():
    images = GOOD[:2].copy()
    images[:, 1, 20:46, 240:] = 0.5  # pins 12 and 13 of row 2 in the centre camera
    with pytest.raises(ValueError, match=r"too faint at position \(0, 1, 1, 11\)"):
        Soart().fit(images)


def test_a_value_is_an_integer():
    assert locate(np.int64(817)) == locate(817)
    with pytest.raises(TypeError, match="integer"):
        locate(3.0)
