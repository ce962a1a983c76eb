import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import NearestCentroid
from sklearn.utils.estimator_checks import estimator_checks_generator

from snnlib.whitening import WithinClassWhitening


def clouds(seed=0, n=400, d=6):
    """Three classes with one elongated spread about means of their own."""
    rng = np.random.default_rng(seed)
    spread, means = rng.normal(size=(d, d)) * 3, rng.normal(size=(3, d)) * 20
    labels = np.repeat([0, 1, 2], n // 3 + 1)[:n]
    return rng.normal(size=(n, d)) @ spread + means[labels], labels


def residuals(X, y):
    return np.concatenate([X[y == k] - X[y == k].mean(axis=0) for k in np.unique(y)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(WithinClassWhitening())),
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", "whitening"),
)
def test_estimator_contract(estimator, check):
    check(estimator)


def test_spread_within_classes_becomes_round():
    X, y = clouds(n=4000)
    Z = WithinClassWhitening().fit(X, y).transform(X)
    covariance = residuals(Z, y).T @ residuals(Z, y) / len(Z)
    np.testing.assert_allclose(covariance, np.eye(6), atol=0.05)
    assert np.linalg.norm(np.cov(X.T) - np.eye(6)) > 10


def test_euclidean_distance_after_it_is_mahalanobis_distance():
    X, y = clouds()
    covariance = LedoitWolf(assume_centered=True).fit(residuals(X, y)).covariance_
    difference = X[0] - X[1]
    expected = np.sqrt(difference @ np.linalg.inv(covariance) @ difference)
    Z = WithinClassWhitening().fit(X, y).transform(X[:2])
    assert euclidean_distances(Z)[0, 1] == pytest.approx(expected)


def test_nearest_mean_after_it_is_linear_discriminant_analysis():
    X, y = clouds(n=3000)
    X, new = X[::2], X[1::2]
    y, of_new = y[::2], y[1::2]
    whitening = WithinClassWhitening().fit(X, y)
    ours = NearestCentroid().fit(whitening.transform(X), y).predict(whitening.transform(new))
    theirs = LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(X, y).predict(new)
    assert (ours == theirs).mean() > 0.999
    assert (ours == of_new).mean() > 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.floats(0.1, 10))
def test_shift_of_a_class_and_scale_of_all_change_nothing(seed, factor):
    X, y = clouds(seed, n=60)
    Z = WithinClassWhitening().fit(X, y).transform(X)
    shifted = X + np.where(y == 1, 7.0, 0.0)[:, None]
    np.testing.assert_allclose(
        WithinClassWhitening().fit(shifted, y).matrix_, WithinClassWhitening().fit(X, y).matrix_
    )
    scaled = WithinClassWhitening().fit(factor * X, y).transform(factor * X)
    np.testing.assert_allclose(scaled, Z, rtol=1e-6, atol=1e-6)


def test_zero_stays_zero_and_the_root_is_symmetric():
    X, y = clouds()
    whitening = WithinClassWhitening().fit(X, y)
    assert not whitening.transform(np.zeros((1, 6))).any()
    np.testing.assert_allclose(whitening.matrix_, whitening.matrix_.T, atol=1e-12)
    assert (np.diff(whitening.variances_) <= 0).all()


def test_fewer_points_than_values():
    X, y = clouds(n=12, d=40)
    Z = WithinClassWhitening().fit(X, y).transform(X)
    assert np.isfinite(Z).all()


def test_bad_input():
    X, y = clouds(n=9)
    with pytest.raises(NotFittedError):
        WithinClassWhitening().transform(X)
    with pytest.raises(ValueError, match="no two points of a class differ: 3 points in 3 classes"):
        WithinClassWhitening().fit(X[[0, 4, 8]], [0, 1, 2])
    with pytest.raises(ValueError, match="NaN"):
        WithinClassWhitening().fit(np.where(X[3, 2] == X, np.nan, X), y)
    with pytest.raises(ValueError, match="6 features"):
        WithinClassWhitening().fit(X, y).transform(X[:, :4])
