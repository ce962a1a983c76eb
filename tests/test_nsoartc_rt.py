import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from snnlib.nsoartc.rt import RT, check_divider, metrics_of_sums, windowed

few = settings(max_examples=25)
dtypes = st.sampled_from([np.float64, np.float32])


@st.composite
def unit_spaces(draw, dtypes=dtypes):
    """Good parts: a pattern that is far from zero, and what differs between them."""
    n, k = draw(st.integers(4, 20)), draw(st.integers(3, 40))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    pattern = rng.choice([-1, 1], k) * rng.uniform(0.5, 1.5, k)
    good = scale * (pattern + 0.3 * rng.standard_normal((n, k)))
    return good.astype(draw(dtypes)), rng


def textbook(X, good):
    """(β, Y₂) by the formulae of the textbook, one number at a time."""
    n, k = len(good), len(good[0])
    mean = [sum(float(x[j]) for x in good) / n for j in range(k)]
    r = sum(m**2 for m in mean)
    pairs = []
    for x in X:
        linear = total = 0.0
        for j in range(k):
            linear += mean[j] * float(x[j])
            total += float(x[j]) ** 2
        variance = (total - linear**2 / r) / (k - 1)
        pairs.append((linear / r, variance**0.5))
    return np.array(pairs)


def residual(x, reference):
    """S_e as the sum over what the best multiple of the reference leaves."""
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    beta = x @ reference / (reference @ reference)
    return ((x - beta * reference) ** 2).sum()


def tolerance(dtype):
    """For a sum of some tens of products."""
    return 100 * float(np.finfo(dtype).eps)


def bad(array, *place, value=np.nan):
    array = array.copy()
    array[place] = value
    return array


GOOD = np.random.default_rng(0).normal(3, 1, (12, 6))


@few
@given(unit_spaces(), st.floats(-3, 3))
def test_a_multiple_of_the_reference_has_this_sensitivity_and_no_error(space, c):
    good, _ = space
    rt = RT().fit(good)
    x = (c * rt.reference_).astype(good.dtype)
    ((beta, error),) = rt.transform(x[None])
    assert beta == pytest.approx(c, abs=4 * tolerance(good.dtype))
    # What is left of |d|² - |d|² by rounding.
    rest = tolerance(good.dtype) * ((x - rt.reference_) ** 2).sum()
    assert error <= np.sqrt(rest / (good.shape[1] - 1)) + tolerance(good.dtype) * np.abs(x).max()


@few
@given(unit_spaces())
def test_the_reference_itself_has_sensitivity_1_and_error_0(space):
    good, _ = space
    rt = RT().fit(good)
    assert rt.transform(rt.reference_[None]).tolist() == [[1, 0]]


@few
@given(unit_spaces(), st.floats(0.01, 10))
def test_what_is_orthogonal_to_the_reference_goes_into_the_error_alone(space, strength):
    good, rng = space
    rt = RT().fit(good)
    reference = rt.reference_.astype(np.float64)
    v = rng.standard_normal(len(reference))
    v -= reference * (v @ reference) / (reference @ reference)
    v *= strength * np.linalg.norm(reference) / np.linalg.norm(v)
    x = good[0].astype(np.float64)
    rest = x - reference * (x @ reference) / (reference @ reference)
    (before, _), (after, error) = rt.transform(np.stack([x, x + v]).astype(good.dtype))
    near = tolerance(good.dtype) * (1 + strength)
    assert after == pytest.approx(before, abs=near)
    expected = ((rest + v) ** 2).sum() / (len(x) - 1)
    assert error**2 == pytest.approx(expected, rel=20 * near)


@few
@given(unit_spaces())
def test_the_error_is_what_the_best_multiple_of_the_reference_leaves(space):
    good, _ = space
    rt = RT().fit(good)
    k = good.shape[1]
    expected = [residual(x, rt.reference_) / (k - 1) for x in good]
    np.testing.assert_allclose(
        rt.transform(good)[:, 1] ** 2, expected, rtol=10 * tolerance(good.dtype)
    )


@few
@given(unit_spaces())
def test_the_sums_split_the_total(space):
    """S_T = S_β + S_e, with S_β = β² r."""
    good, _ = space
    rt = RT().fit(good)
    beta, error = rt.transform(good).astype(np.float64).T
    total = (good.astype(np.float64) ** 2).sum(axis=1)
    parts = beta**2 * float(rt.divider_) + error**2 * (good.shape[1] - 1)
    np.testing.assert_allclose(parts, total, rtol=tolerance(good.dtype))


@few
@given(unit_spaces())
def test_distances_average_1_over_the_unit_space(space):
    good, _ = space
    assert RT().fit(good).distance(good).mean() == pytest.approx(1, abs=1e-9)


@few
@given(unit_spaces(dtypes=st.just(np.float64)))
def test_equal_to_the_textbook(space):
    good, rng = space
    new = good[:3] * rng.uniform(0.5, 2, (3, 1)) + 0.5 * rng.standard_normal(good.shape[1])
    rt = RT().fit(good)
    for X in (good, new):
        np.testing.assert_allclose(rt.transform(X), textbook(X, good), rtol=1e-9)
    np.testing.assert_allclose(rt.reference_, good.mean(axis=0))
    assert rt.divider_ == pytest.approx((good.mean(axis=0) ** 2).sum())
    Y = textbook(good, good)
    np.testing.assert_allclose(rt.centre_, Y.mean(axis=0))
    np.testing.assert_allclose(
        rt.covariance_, (Y - Y.mean(axis=0)).T @ (Y - Y.mean(axis=0)) / len(Y)
    )
    inverse = np.linalg.inv(rt.covariance_)
    expected = [(y - rt.centre_) @ inverse @ (y - rt.centre_) / 2 for y in textbook(new, good)]
    np.testing.assert_allclose(rt.distance(new), expected, rtol=1e-6)


@few
@given(unit_spaces(dtypes=st.just(np.float64)), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_another_unit_of_brightness_changes_the_error_alone(space, factor):
    good, _ = space
    one, other = RT().fit(good), RT().fit(factor * good)
    np.testing.assert_allclose(other.transform(factor * good), one.transform(good) * [1, factor])
    np.testing.assert_allclose(other.distance(factor * good), one.distance(good), rtol=1e-6)


def test_a_faint_error_survives_single_precision():
    """The textbook's small difference of large numbers does not."""
    rng = np.random.default_rng(0)
    k = 484
    reference = rng.uniform(0.5, 1.5, k)
    good = (reference * np.array([[0.98], [1.02]])).astype(np.float32)
    rt = RT().fit(good)
    worst = {"deviation": 0.0, "raw": 0.0}
    for _ in range(50):
        noise = 0.01 * np.sqrt((reference**2).mean()) * rng.standard_normal(k)
        x = (rng.uniform(0.95, 1.05) * reference + noise).astype(np.float32)
        exact = np.sqrt(residual(x, rt.reference_) / (k - 1))
        total, linear = x @ x, x @ rt.reference_
        raw = np.sqrt((total - linear**2 / (rt.reference_ @ rt.reference_)) / np.float32(k - 1))
        assert raw.dtype == np.float32
        for name, value in [("deviation", rt.transform(x[None])[0, 1]), ("raw", raw)]:
            worst[name] = max(worst[name], abs(value / exact - 1))
    assert worst["deviation"] < 1e-4 < worst["raw"]


@few
@given(unit_spaces())
def test_numbers_keep_their_type(space):
    good, _ = space
    rt = RT().fit(good)
    assert rt.reference_.dtype == rt.transform(good).dtype == good.dtype
    assert rt.distance(good).dtype == np.float64
    assert rt.transform(good).shape == (len(good), 2)
    assert rt.distance(good).shape == (len(good),)


@few
@given(unit_spaces())
def test_the_adjugate_distance_is_the_other_times_the_determinant(space):
    good, _ = space
    inverse, adjugate = RT().fit(good), RT(adjugate=True).fit(good)
    np.testing.assert_allclose(
        adjugate.distance(good),
        np.linalg.det(inverse.covariance_) * inverse.distance(good),
        rtol=1e-6,
        atol=1e-9 * np.linalg.det(inverse.covariance_),
    )


@pytest.mark.parametrize(
    "good",
    [
        np.tile([1.0, 2.0, 3.0], (5, 1)),  # all alike
        GOOD[:2],  # two lie on a line
        np.outer([0.5, 1.0, 1.5], [1.0, 2.0, 3.0]),  # no error in any
    ],
    ids=["alike", "two", "multiples"],
)
def test_a_singular_covariance_is_refused_but_not_by_the_adjugate(good):
    rt = RT().fit(good)
    with pytest.raises(ValueError, match=r"covariance of \(Y₁, Y₂\) .* is singular.*adjugate=True"):
        rt.distance(good)
    distances = RT(adjugate=True).fit(good).distance(good)
    assert np.isfinite(distances).all()
    np.testing.assert_allclose(distances, 0, atol=1e-12)


def test_the_adjugate_distance_tells_a_pattern_off_the_line():
    distances = RT(adjugate=True).fit(GOOD[:2]).distance(GOOD[:3])
    np.testing.assert_allclose(distances[:2], 0, atol=1e-12)
    assert distances[2] > 1e-6


@pytest.mark.parametrize(("offset", "divider"), [(0, "0"), (1e-7, "3e-14"), (2e-6, "1.2e-11")])
def test_a_faint_reference_is_refused(offset, divider):
    off = np.array([[1.0, -2.0, 3.0], [-1.0, 2.0, -3.0]])
    message = f"the reference is too faint: its effective divider {divider} .*1e-12 .* S_T, 14$"
    with pytest.raises(ValueError, match=message):
        RT().fit(off + offset)
    RT().fit(off + 3e-6)


@pytest.mark.parametrize(
    ("good", "message"),
    [
        (GOOD[:1], "minimum of 2 is required"),
        (GOOD[:0], r"0 sample\(s\)"),
        (GOOD[:, :1], "minimum of 2 is required"),
        (GOOD[0], "Expected 2D array"),
        (GOOD[None], "dim 3"),
        (bad(GOOD, 3, 4), "NaN"),
        (bad(GOOD, 3, 4, value=np.inf), "infinity"),
    ],
)
def test_bad_unit_spaces(good, message):
    with pytest.raises(ValueError, match=message):
        RT().fit(good)


@pytest.mark.parametrize("use", ["transform", "distance"])
@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (GOOD[:, :5], "5 features, but RT is expecting 6"),
        (np.ones((2, 7)), "7 features, but RT is expecting 6"),
        (GOOD[:0], "minimum of 1 is required"),
        (GOOD[0], "Expected 2D array"),
        (bad(GOOD, 3, 4), "NaN"),
        (bad(GOOD, 3, 4, value=-np.inf), "infinity"),
    ],
)
def test_bad_patterns(use, patterns, message):
    with pytest.raises(ValueError, match=message):
        getattr(RT().fit(GOOD), use)(patterns)


@pytest.mark.parametrize("use", ["transform", "distance"])
def test_nothing_works_before_fit(use):
    with pytest.raises(NotFittedError, match="RT instance is not fitted"):
        getattr(RT(), use)(GOOD)


def test_fit_leaves_its_input_and_names_its_output():
    good = GOOD.copy()
    rt = RT(adjugate=True).fit(good)
    rt.distance(good)
    assert np.array_equal(good, GOOD)
    assert rt.get_feature_names_out().tolist() == ["rt0", "rt1"]
    assert clone(rt).get_params() == {"adjugate": True}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("adjugate", [False, True])
def test_estimator_contract(adjugate):
    """A reference of zero is refused, so data that are standardised cannot be a unit space."""
    standardising = dict.fromkeys(
        [
            "check_transformer_data_not_an_array",
            "check_transformer_general",
            "check_transformer_preserve_dtypes",
        ],
        "standardises the data, so that their mean, the reference, is zero",
    )
    results = check_estimator(RT(adjugate=adjugate), expected_failed_checks=standardising)
    failed = [result for result in results if result["status"] == "xfail"]
    assert {result["check_name"] for result in failed} == set(standardising)
    assert all("the reference is too faint" in str(result["exception"]) for result in failed)


@given(st.integers(2, 500), st.floats(0.1, 10), st.floats(-5, 5), st.floats(0, 100))
def test_metrics_of_sums_by_the_formulae(k, divider, cross, rest):
    square = cross**2 / divider + rest
    beta, error = metrics_of_sums(np.array([cross]), np.array([square]), np.array([divider]), k)
    assert beta == pytest.approx(1 + cross / divider)
    assert error**2 == pytest.approx(rest / (k - 1), abs=1e-9)


def test_metrics_of_sums_never_take_the_root_of_a_negative():
    cross, divider = np.array([2.0, 2.0], dtype=np.float32), np.float32(1)
    beta, error = metrics_of_sums(cross, np.array([3.999, 4.5], np.float32), divider, 3)
    assert beta.tolist() == [3, 3]
    assert error.tolist() == [0, 0.5]


def test_metrics_of_sums_broadcast_the_divider():
    rng = np.random.default_rng(0)
    cross, square = rng.normal(size=(2, 4, 3)), rng.uniform(50, 60, (2, 4, 3))
    divider = rng.uniform(1, 2, 3)
    together = metrics_of_sums(cross, square, divider, 9)
    for i in range(3):
        alone = metrics_of_sums(cross[..., i], square[..., i], divider[i], 9)
        assert all(np.array_equal(a[..., i], b) for a, b in zip(together, alone))


def test_check_divider_names_the_first_position():
    divider = np.ones((2, 3))
    divider[1, 0], divider[1, 2] = 1e-13, 0
    check_divider(np.ones((2, 3)), 1.0)
    with pytest.raises(
        ValueError,
        match=r"the reference is too faint at position \(1, 0\): its effective divider 1e-13 "
        r"must be above 1e-12 of the mean S_T, 1$",
    ):
        check_divider(divider, 1.0)


def test_check_divider_takes_each_total_by_itself():
    check_divider(1e-13, 0.05)
    with pytest.raises(ValueError, match=r"the mould is too faint at position \(2,\).* S_T, 50$"):
        check_divider(np.full(3, 1e-11), np.array([1, 5, 50]), "the mould")


@pytest.mark.parametrize(
    ("divider", "total"), [(0.0, 0.0), (1e-12, 1.0), (-1.0, 1.0), (np.nan, 1.0), (1.0, np.nan)]
)
def test_a_divider_must_be_above_its_limit(divider, total):
    with pytest.raises(ValueError, match=r"the reference is too faint: "):
        check_divider(divider, total)


def naive_windowed(image, reference, size):
    """(β, Y₂) of every window in two loops; d and x̄ go on beyond the border."""
    wide = [
        np.pad(np.asarray(array, dtype=np.float64), size // 2, mode="edge")
        for array in (image - reference, reference)
    ]
    pairs = np.empty((2, *image.shape))
    for y, x in itertools.product(*map(range, image.shape)):
        d, mean = (array[y : y + size, x : x + size].ravel() for array in wide)
        r = mean @ mean
        rest = ((d - mean * (d @ mean) / r) ** 2).sum()
        pairs[:, y, x] = 1 + d @ mean / r, np.sqrt(rest / (size**2 - 1))
    return pairs


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    reference = rng.choice([-1, 1], (height, width)) * rng.uniform(0.5, 1.5, (height, width))
    return reference + 0.3 * rng.standard_normal((height, width)), reference


@few
@given(scenes(), st.sampled_from([3, 5, 7]), dtypes)
def test_windowed_equals_a_loop_over_pixels(scene, size, dtype):
    image, reference = (array.astype(dtype) for array in scene)
    found = np.stack(windowed(image, reference, size))
    assert found.dtype == np.float64
    np.testing.assert_allclose(
        found,
        naive_windowed(*(array.astype(np.float64) for array in (image, reference)), size),
        rtol=1e-7,
        atol=1e-7,
    )


def test_windowed_broadcasts_over_parts_and_cameras():
    rng = np.random.default_rng(0)
    images, reference = rng.uniform(0.5, 1, (2, 4, 3, 6, 7)), rng.uniform(0.5, 1, (3, 6, 7))
    found = np.stack(windowed(images, reference, 3))
    assert found.shape == (2, *images.shape)
    for i, j, camera in np.ndindex(2, 4, 3):
        alone = np.stack(windowed(images[i, j, camera], reference[camera], 3))
        np.testing.assert_allclose(found[:, i, j, camera], alone, atol=1e-12)
        expected = naive_windowed(images[i, j, camera], reference[camera], 3)
        np.testing.assert_allclose(found[:, i, j, camera], expected, atol=1e-7)


def test_windowed_obeys_the_laws_of_the_method():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.5, 1, (6, 7))
    beta, error = windowed(1.5 * reference, reference, 5)
    np.testing.assert_allclose(beta, 1.5)
    np.testing.assert_allclose(error, 0, atol=1e-7)
    beta, error = windowed(reference, reference, 5)
    assert np.array_equal(beta, np.ones((6, 7)))
    assert not error.any()


IMAGE = np.random.default_rng(1).uniform(0.5, 1, (2, 5, 6))


@pytest.mark.parametrize("size", [-3, 0, 1, 2, 4, 3.5])
def test_windows_have_an_odd_size_of_at_least_3(size):
    with pytest.raises(ValueError, match=rf"odd number of pixels of at least 3, got {size}"):
        windowed(IMAGE, IMAGE[0], size)


@pytest.mark.parametrize(
    ("images", "reference"),
    [
        (IMAGE, IMAGE[0].T),
        (IMAGE, IMAGE[0, :, :5]),
        (IMAGE[0], IMAGE),
        (IMAGE, IMAGE[:1]),
        (IMAGE[0, 0], IMAGE[0, 0]),
        (IMAGE, np.float64(1)),
        (IMAGE[0], IMAGE[0, 0]),
    ],
)
def test_windowed_refuses_shapes_that_do_not_match(images, reference):
    with pytest.raises(ValueError, match=r"images must end in the shape of the reference"):
        windowed(images, reference, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_windowed_says_where_a_pixel_is_not_finite(value):
    with pytest.raises(
        ValueError, match=rf"^images must be finite, got {value} at position \(1, 2, 3\)"
    ):
        windowed(bad(IMAGE, 1, 2, 3, value=value), IMAGE[0], 3)
    with pytest.raises(
        ValueError, match=rf"^reference must be finite, got {value} at position \(4, 0\)"
    ):
        windowed(IMAGE, bad(IMAGE[0], 4, 0, value=value), 3)


@pytest.mark.parametrize("rest", [0, 1e-7])
def test_windowed_says_where_the_reference_is_too_faint(rest):
    reference = IMAGE[0].copy()
    reference[1:4, 2:5] = rest
    with pytest.raises(
        ValueError, match=r"reference in the window is too faint at position \(2, 3\).*divider"
    ):
        windowed(IMAGE, reference, 3)
    windowed(IMAGE, reference, 5)


def test_windowed_without_an_image():
    with pytest.raises(ValueError, match=r"expected at least one image, got shape \(0, 5, 6\)"):
        windowed(np.ones((0, 5, 6)), np.ones((5, 6)), 3)
