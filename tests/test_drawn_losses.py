import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss, TripletMarginLoss
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from torch.nn import functional

from snnlib.losses import contrastive, cosine, cosine_triplet, euclidean, triplet

TOLERANCE = {torch.float64: {"rel": 1e-10, "abs": 1e-10}, torch.float32: {"rel": 1e-5, "abs": 1e-6}}


@st.composite
def batches(draw):
    """Embeddings of pairs, some of them identical, with their marks and a margin."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scale = draw(st.sampled_from([1e-3, 0.3, 1.0, 30.0]))
    first, second = (torch.tensor(scale * rng.standard_normal((n, d)), dtype=dtype) for _ in "12")
    identical = torch.tensor(rng.random(n) < 0.3)
    second = torch.where(identical[:, None], first, second)
    same = torch.tensor(rng.random(n) < 0.5)
    return first, second, same, draw(st.sampled_from([0.1, 1.0, 2.5]))


def naive(first, second, same, margin):
    """The formula, one pair and one coordinate at a time."""
    total = 0.0
    for a, b, alike in zip(first.tolist(), second.tolist(), same.tolist()):
        squares = 0.0
        for x, y in zip(a, b):
            squares += (x - y) ** 2
        hinge = max(margin - math.sqrt(squares), 0.0)
        total += 0.5 * squares if alike else 0.5 * hinge**2
    return total / len(first)


@given(batches())
def test_equal_to_a_naive_loop(batch):
    first = batch[0]
    assert contrastive(*batch).item() == pytest.approx(naive(*batch), **TOLERANCE[first.dtype])


@given(batches())
def test_hinges_equal_to_pytorch_metric_learning(batch):
    """Theirs are max(D, 0) and max(m − D, 0) for each pair; ours are squared and halved."""
    first, second, same, margin = batch
    n = len(first)
    assume(max(same.sum(), (~same).sum()) > 1)  # theirs is 0 by definition for one pair of a kind
    theirs = ContrastiveLoss(
        pos_margin=0,
        neg_margin=margin,
        distance=LpDistance(normalize_embeddings=False),
        reducer=DoNothingReducer(),
    )
    index = torch.arange(n)
    positives, negatives = index[same], index[~same]
    pairs = (positives, positives + n, negatives, negatives + n)
    terms = theirs(torch.cat([first, second]), indices_tuple=pairs)
    hinges = torch.zeros(n, dtype=first.dtype)
    for term, members in [("pos_loss", positives), ("neg_loss", negatives)]:
        found = terms[term]["losses"]
        if len(members) and torch.is_tensor(found):
            hinges[members] = found
    ours = [contrastive(*(x[k : k + 1] for x in (first, second, same)), margin) for k in range(n)]
    expected = pytest.approx((0.5 * hinges.double() ** 2).tolist(), **TOLERANCE[first.dtype])
    assert [loss.item() for loss in ours] == expected


@given(batches())
def test_the_gradient_is_finite_even_at_zero_distance(batch):
    first, second, same, margin = batch
    first, second = first.requires_grad_(), second.clone().requires_grad_()
    contrastive(first, second, same, margin).backward()
    for gradient in (first.grad, second.grad):
        assert gradient.isfinite().all()
    assert torch.allclose(first.grad, -second.grad)
    identical = (first == second).all(dim=1)
    assert (first.grad[identical] == 0).all()


def test_gradient_equal_to_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 8, 3, generator=generator, dtype=torch.float64)
    same = torch.arange(8) % 2 == 0
    first.requires_grad_()
    contrastive(first, second, same, margin=3.0).backward()
    difference = (first - second).detach()
    D = difference.norm(dim=1, keepdim=True)
    pull = torch.where(same[:, None], 1.0, -(3.0 - D).clamp(min=0) / D)
    assert torch.allclose(first.grad, pull * difference / 8, atol=1e-12)


def test_the_distance_at_zero_is_exactly_zero():
    z = torch.ones(3, 4)
    assert (euclidean(z, z) == 0).all()


@given(batches())
def test_distances_equal_to_torch(batch):
    first, second, *_ = batch
    expected = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist").diagonal()
    assert torch.allclose(euclidean(first, second), expected)


Z, SAME = torch.zeros(3, 2), torch.tensor([True, False, True])


@pytest.mark.parametrize("margin", [0, -1.0, float("inf"), float("nan")])
def test_bad_margins(margin):
    with pytest.raises(ValueError, match=f"margin must be positive and finite, got {margin}"):
        contrastive(Z, Z, SAME, margin)


@pytest.mark.parametrize(
    ("first", "second", "same", "message"),
    [
        (Z, torch.zeros(3, 4), SAME, r"\(3, 2\) and \(3, 4\)"),
        (Z[0], Z[0], SAME, r"\(2,\) and \(2,\)"),
        (Z, Z, SAME[:2], r"shape \(3,\), one value a pair, got \(2,\)"),
    ],
)
def test_bad_shapes(first, second, same, message):
    with pytest.raises(ValueError, match=message):
        contrastive(first, second, same)


def test_labels_that_could_mean_either_are_refused():
    with pytest.raises(TypeError, match=r"boolean .* got torch\.int64"):
        contrastive(Z, Z, SAME.long())


@pytest.mark.parametrize("loss", [contrastive, cosine, cosine_triplet, euclidean, triplet])
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(("made", "kind"), [(np.array, "ndarray"), (list, "list")])
def test_what_is_no_tensor_is_told(loss, position, made, kind):
    given = {contrastive: [Z, Z, SAME], cosine: [Z, Z], euclidean: [Z, Z]}.get(loss, [Z, Z, Z])
    position = min(position, len(given) - 1)
    name = "same" if given[position] is SAME else "embeddings"
    given[position] = made(given[position].tolist())
    fault = rf"{name} must be a tensor, got {kind}; torch\.as_tensor makes one"
    with pytest.raises(TypeError, match=fault):
        loss(*given)


@st.composite
def triplets(draw):
    """Embeddings of triplets, some positives identical to their anchors, with a margin."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(2, 8))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scale = draw(st.sampled_from([1e-3, 0.3, 1.0, 30.0]))
    three = [torch.tensor(scale * rng.standard_normal((n, d)), dtype=dtype) for _ in "apn"]
    identical = torch.tensor(rng.random(n) < 0.3)
    three[1] = torch.where(identical[:, None], three[0], three[1])
    return three, draw(st.sampled_from([0.1, 0.4, 1.5]))


def naive_triplet(three, margin):
    """The formula, one triplet and one coordinate at a time."""
    total = 0.0
    for a, p, n in zip(*(z.tolist() for z in three)):
        length = {id(z): math.sqrt(sum(x * x for x in z)) for z in (a, p, n)}
        near, far = (
            1 - sum(x * y for x, y in zip(a, z)) / (length[id(a)] * length[id(z)]) for z in (p, n)
        )
        total += max(near - far + margin, 0.0)
    return total / len(three[0])


@given(triplets())
def test_triplet_loss_equal_to_a_naive_loop_and_to_two_libraries(batch):
    three, margin = batch
    tolerance = {torch.float64: {"abs": 1e-10}, torch.float32: {"abs": 1e-5}}[three[0].dtype]
    ours = cosine_triplet(*three, margin).item()
    assert ours == pytest.approx(naive_triplet(three, margin), **tolerance)
    theirs = functional.triplet_margin_with_distance_loss(
        *three,
        distance_function=lambda x, y: 1 - functional.cosine_similarity(x, y),
        margin=margin,
    )
    assert ours == pytest.approx(theirs.item(), **tolerance)
    n = len(three[0])
    index = torch.arange(n)
    theirs = TripletMarginLoss(margin, distance=CosineSimilarity(), reducer=MeanReducer())(
        torch.cat(three), indices_tuple=(index, index + n, index + 2 * n)
    )
    assert ours == pytest.approx(theirs.item(), **tolerance)


@given(triplets(), st.floats(0.01, 100))
def test_triplet_loss_knows_directions_only(batch, factor):
    three, margin = batch
    stretched = [factor * z for z in three]
    expected = cosine_triplet(*three, margin).item()
    assert cosine_triplet(*stretched, margin).item() == pytest.approx(expected, abs=1e-5)


def test_cosine_distances_of_known_angles():
    first = torch.tensor([[2.0, 0.0]]).expand(4, 2)
    second = torch.tensor([[5.0, 0.0], [1.0, 1.0], [0.0, 3.0], [-1.0, 0.0]])
    expected = torch.tensor([0, 1 - math.sqrt(0.5), 1, 2])
    assert torch.allclose(cosine(first, second), expected, atol=1e-6)


def test_an_embedding_of_zeros_has_no_direction_and_a_modest_gradient():
    zero = torch.zeros(1, 3, requires_grad=True)
    other = torch.tensor([[3.0, 4.0, 0.0]])
    assert cosine(zero, other).item() == 1
    cosine_triplet(zero, other, -other).backward()
    assert zero.grad.norm() <= 2


def test_all_triplets_in_one_point_cost_the_margin():
    z = torch.ones(5, 3)
    assert cosine_triplet(z, z, z, 0.4).item() == pytest.approx(0.4)


@pytest.mark.parametrize("margin", [0, -0.4, float("nan")])
def test_bad_triplet_margins(margin):
    with pytest.raises(ValueError, match=f"margin must be positive and finite, got {margin}"):
        cosine_triplet(Z, Z, Z, margin)


def test_unequal_widths():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 2\) and \(3, 4\)"):
        cosine_triplet(Z, Z, torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(3, 4\)"):
        cosine(Z, torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(1, 2\)"):
        euclidean(Z, Z[:1])


def test_margins_unless_told():
    """Those of the posts and of the chapters."""
    zero, one = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    assert contrastive(zero, zero, torch.tensor([False])).item() == 0.5
    assert cosine_triplet(one, one, one).item() == pytest.approx(0.4)


@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
def test_the_triplet_loss_is_that_of_pytorch(margin):
    generator = torch.Generator().manual_seed(0)
    three = torch.randn(3, 40, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    ours = triplet(*three, margin=margin)
    theirs = functional.triplet_margin_loss(*three, margin=margin, eps=0)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(loss, three) for loss in (ours, theirs))):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="margin must be positive and finite, got 0"):
        triplet(*three, margin=0)
