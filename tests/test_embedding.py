import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.neighbors import NearestCentroid
from sklearn.utils.estimator_checks import estimator_checks_generator
from torch import nn

from snnlib.embedding import AnchorClassifier, embed, through
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
    [
        *estimator_checks_generator(AnchorClassifier()),
        *estimator_checks_generator(AnchorClassifier(unit_length=True)),
    ],
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
        lambda: AnchorClassifier().score(Z, Y),
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


def test_layers_that_were_frozen_stay_frozen(rng):
    images = rng.random((5, 1, 4, 4), dtype=np.float32)
    encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5)).train()
    encoder[1].eval()
    embed(encoder, images)
    assert [encoder.training, *(layer.training for layer in encoder)] == [True, True, False, True]


def test_an_encoder_without_weights_embeds(rng):
    images = rng.random((5, 1, 4, 4), dtype=np.float32)
    np.testing.assert_array_equal(embed(nn.Flatten(), images), images.reshape(5, -1))


class Count(nn.Module):
    """Its one buffer is a whole number, which is no precision for images."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))

    def forward(self, images):
        return images.flatten(1)


def test_a_whole_number_among_the_buffers_does_not_round_images(rng):
    images = rng.random((5, 1, 4, 4), dtype=np.float32)
    np.testing.assert_array_equal(embed(Count(), images), images.reshape(5, -1))


def test_anchors_are_added_up_in_double():
    """In float32 the mean of 200 000 numbers near 100 was off by 0.08."""
    exact = 100 + np.random.default_rng(0).normal(0, 0.1, (200_000, 2))
    Z = exact.astype(np.float32)
    classifier = AnchorClassifier().fit(Z, np.arange(len(Z)) % 2)
    expected = [Z[k::2].mean(axis=0, dtype=np.float64) for k in range(2)]
    assert classifier.anchors_.dtype == np.float32
    np.testing.assert_allclose(classifier.anchors_, expected, rtol=1e-6)
    wider = classifier.with_anchor(2, Z)
    np.testing.assert_allclose(wider.anchors_[2], Z.mean(axis=0, dtype=np.float64), rtol=1e-6)


def test_labels_of_a_table_can_get_a_new_anchor():
    names = np.array(Y, dtype=object)  # as pandas keeps words
    old = AnchorClassifier().fit(Z[:40], names[:40])
    wider = old.with_anchor("tilted", Z[40:])
    assert wider.classes_.tolist() == ["bent", "good", "tilted"]
    np.testing.assert_allclose(wider.anchors_, AnchorClassifier().fit(Z, Y).anchors_)
    with pytest.raises(ValueError, match="label 7 does not go with"):
        old.with_anchor(7, Z[40:])


def on_the_circle(degrees):
    return np.column_stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])


def test_anchors_of_unit_length_name_by_direction():
    """Means favour a scattered class: (0.17, 0) is nearer to 100° than (0, 1) is to it."""
    points = on_the_circle([-80, 80, 170, 190])
    labels = [0, 0, 1, 1]
    new = on_the_circle([100])
    means = AnchorClassifier().fit(points, labels)
    unit = AnchorClassifier(unit_length=True).fit(points, labels)
    np.testing.assert_allclose(unit.anchors_, on_the_circle([0, 180]), atol=1e-12)
    assert means.predict(new) == [0]
    assert unit.predict(new) == [1]
    cosines = new @ unit.anchors_.T
    assert unit.predict(new) == cosines.argmax(axis=1)
    wider = unit.with_anchor(2, on_the_circle([60, 120]))
    np.testing.assert_allclose(wider.anchors_[2], [0, 1], atol=1e-12)
    assert wider.unit_length


def test_an_anchor_without_a_direction_is_refused():
    with pytest.raises(ValueError, match=r"embeddings of \['a'\] cancel out"):
        AnchorClassifier(unit_length=True).fit([[1.0, 0], [-1, 0], [0, 1]], ["a", "a", "b"])
    fitted = AnchorClassifier(unit_length=True).fit([[1.0, 0], [0, 1]], ["a", "b"])
    with pytest.raises(ValueError, match=r"embeddings of \['c'\] cancel out"):
        fitted.with_anchor("c", [[1.0, 0], [-1, 0]])


@pytest.mark.parametrize("k", [2, 4])
def test_decision_function_agrees_with_the_nearest_anchor(k):
    rng = np.random.default_rng(k)
    Z, y = rng.normal(size=(200, 3)), np.arange(200) % k
    classifier = AnchorClassifier().fit(Z + 0.3 * y[:, None], y)
    scores = classifier.decision_function(Z)
    said = (scores > 0).astype(int) if k == 2 else scores.argmax(axis=1)
    assert scores.shape == ((200,) if k == 2 else (200, 4))
    assert np.array_equal(said, classifier.predict(Z))
    # Scikit-learn's own ranking of it, against the distances by hand.
    D = classifier.distances(Z)
    if k == 2:
        expected = roc_auc_score(y, D[:, 0] - D[:, 1])
        theirs = get_scorer("roc_auc")(classifier, Z, y)
        assert theirs == pytest.approx(expected)


def test_weights_of_samples_count():
    classifier = AnchorClassifier().fit([[0.0], [10.0]], ["a", "b"])
    Z, y, weights = [[1.0], [2.0], [9.0]], ["a", "b", "b"], [1.0, 3.0, 4.0]
    assert classifier.score(Z, y) == pytest.approx(2 / 3)
    assert classifier.score(Z, y, sample_weight=weights) == pytest.approx(5 / 8)


def test_bad_batch_sizes(blobs):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        embed(mlp(16, 4, seed=0), blobs.images, batch_size=0)


def test_whole_numbers_have_means_that_are_not(blobs):
    classifier = AnchorClassifier().fit([[0], [1], [4]], ["a", "a", "b"])
    assert classifier.anchors_.tolist() == [[0.5], [4.0]]
    single = AnchorClassifier().fit(np.float32([[0.0], [4.0]]), ["a", "b"])
    wider = single.with_anchor("c", np.float64([[1.0], [2.0]]))
    assert wider.anchors_.tolist() == [[0.0], [4.0], [1.5]]
    assert wider.anchors_.dtype == np.float32


def test_a_class_joins_a_single_one():
    alone = AnchorClassifier().fit([[0.0], [1.0]], ["good", "good"])
    assert alone.with_anchor("bent", [[5.0]]).predict([[4.0], [1.0]]).tolist() == ["bent", "good"]


def test_at_the_limit_is_within_it():
    classifier = AnchorClassifier().fit([[0.0], [10.0]], ["a", "b"])
    assert classifier.reject([[0.0], [0.5], [9.0]], 0).tolist() == [False, True, True]
    assert classifier.reject([[0.0], [0.5], [9.0]], 0.5).tolist() == [False, False, True]


def test_one_image_at_a_time(blobs):
    encoder = mlp(16, 4, seed=0)
    one_by_one = embed(encoder, blobs.images[:5], batch_size=1)
    np.testing.assert_allclose(one_by_one, embed(encoder, blobs.images[:5]), atol=1e-6)


def test_an_anchor_is_replaced_by_taking_it_away_and_adding_another():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 4)), np.repeat(["a", "b", "c"], 10)
    first = AnchorClassifier().fit(X, y)
    fewer = first.without_anchor("b")
    assert fewer.classes_.tolist() == ["a", "c"]
    np.testing.assert_array_equal(fewer.anchors_, first.anchors_[[0, 2]])
    other = fewer.with_anchor("b", X[:5])
    np.testing.assert_allclose(other.anchors_[1], X[:5].mean(axis=0))
    assert other.classes_.tolist() == first.classes_.tolist() == ["a", "b", "c"]
    for label in ("d", 1):
        with pytest.raises(ValueError, match=r"expected one of \['a', 'b', 'c'\] and another, got"):
            first.without_anchor(label)
    with pytest.raises(ValueError, match="and another, got 'a'"):
        AnchorClassifier().fit(X[:10], y[:10]).without_anchor("a")


def test_what_is_seen_through_a_layer(blobs):
    seen = through(nn.AvgPool2d(2), blobs)
    assert seen.images.shape == (120, 1, 2, 2)
    np.testing.assert_allclose(seen.images[:, 0, 0, 0], blobs.images[:, 0, :2, :2].mean((1, 2)))
    assert np.array_equal(seen.labels, blobs.labels)
    assert (seen.class_names, seen.source) == (blobs.class_names, blobs.source)
    with pytest.raises(ValueError, match="images must have 4 dimensions"):
        through(nn.Flatten(), blobs)
