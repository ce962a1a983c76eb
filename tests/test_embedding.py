import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import NearestCentroid
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

from snnlib.embedding import AnchorClassifier, embed
from snnlib.encoders import mlp

Z = np.random.default_rng(0).normal(size=(60, 5))
Y = np.repeat(["bent", "good", "tilted"], 20)


@pytest.fixture
def rng():
    return np.random.default_rng(1)


def test_embedding_in_batches_equals_embedding_at_once(rng):
    images = rng.random((50, 1, 4, 4), dtype=np.float32)
    encoder = mlp(16, 8, 3, seed=0)
    together = encoder(torch.tensor(images)).detach().numpy()
    in_batches = embed(encoder, images, batch_size=7)
    assert in_batches.dtype == np.float32
    np.testing.assert_allclose(in_batches, together, atol=1e-6)


def test_dropout_is_off_and_the_mode_stays(rng):
    images = rng.random((5, 1, 4, 4), dtype=np.float32)
    encoder = nn.Sequential(mlp(16, 3, seed=0), nn.Dropout(0.5)).train()
    assert np.array_equal(embed(encoder, images), embed(encoder, images))
    assert encoder.training
    encoder.eval()
    embed(encoder, images)
    assert not encoder.training


def test_bad_images():
    encoder, images = mlp(16, 3, seed=0), np.zeros((2, 1, 4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match=r"4 dimensions .*\(2, 4, 4\)"):
        embed(encoder, images[:, 0])
    with pytest.raises(ValueError, match="at least one image"):
        embed(encoder, images[:0])
    images[1, 0, 2, 3] = np.nan
    with pytest.raises(ValueError, match="nan in image 1, channel 0, row 2, column 3"):
        embed(encoder, images)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(AnchorClassifier())),
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", "classifier"),
)
def test_estimator_contract(estimator, check):
    check(estimator)


def test_equal_to_nearest_centroid(rng):
    ours, theirs = AnchorClassifier().fit(Z, Y), NearestCentroid().fit(Z, Y)
    np.testing.assert_allclose(ours.anchors_, theirs.centroids_)
    new = rng.normal(size=(200, 5))
    assert np.array_equal(ours.predict(new), theirs.predict(new))


def test_distances_equal_to_a_loop():
    classifier = AnchorClassifier().fit(Z, Y)
    expected = [[np.sqrt(((z - a) ** 2).sum()) for a in classifier.anchors_] for z in Z[:5]]
    np.testing.assert_allclose(classifier.distances(Z[:5]), expected)


def test_rejection_is_by_the_nearest_anchor():
    classifier = AnchorClassifier().fit([[0.0], [0.0], [10.0], [10.0]], [0, 0, 1, 1])
    assert classifier.reject([[0.5], [3.0], [9.0], [20.0]], 1.0).tolist() == [
        False,
        True,
        False,
        True,
    ]
    with pytest.raises(ValueError, match="at least 0, got -1"):
        classifier.reject([[0.0]], -1)


def test_with_anchor_equals_fitting_with_the_new_class():
    old = AnchorClassifier().fit(Z[:40], Y[:40])
    wider = old.with_anchor("tilted", Z[40:])
    fitted = AnchorClassifier().fit(Z, Y)
    assert wider.classes_.tolist() == fitted.classes_.tolist()
    np.testing.assert_allclose(wider.anchors_, fitted.anchors_)
    assert old.classes_.tolist() == ["bent", "good"]
    in_between = (
        AnchorClassifier().fit(Z[Y != "good"], Y[Y != "good"]).with_anchor("good", Z[20:40])
    )
    np.testing.assert_allclose(in_between.anchors_, fitted.anchors_)


@pytest.mark.parametrize(
    ("label", "embeddings", "message"),
    [
        ("good", Z[:2], "'good' has an anchor already"),
        (7, Z[:2], r"label 7 does not go with \['bent'"),
        ("new", Z[:2, :3], "expecting 5 features"),
        ("new", Z[:0], "minimum of 1 is required"),
        ("new", np.full((1, 5), np.nan), "NaN"),
    ],
)
def test_bad_new_anchors(label, embeddings, message):
    with pytest.raises(ValueError, match=message):
        AnchorClassifier().fit(Z, Y).with_anchor(label, embeddings)


def test_nothing_works_before_fit():
    for use in (
        lambda: AnchorClassifier().predict(Z),
        lambda: AnchorClassifier().distances(Z),
        lambda: AnchorClassifier().with_anchor("new", Z),
    ):
        with pytest.raises(NotFittedError):
            use()


def test_score_is_the_share_of_right_names():
    classifier = AnchorClassifier().fit(Z, Y)
    assert classifier.score(Z, Y) == np.mean(classifier.predict(Z) == Y)


def test_labels_without_an_anchor_are_not_scored():
    classifier = AnchorClassifier().fit(Z[:40], Y[:40])
    with pytest.raises(
        ValueError, match=r"labels \['tilted'\] have no anchor, only \['bent', 'good'"
    ):
        classifier.score(Z, Y)


def test_anchors_are_not_made_of_nan():
    with pytest.raises(ValueError, match="NaN"):
        AnchorClassifier().fit(np.where(Z > 2, np.nan, Z), Y)
