import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.losses import ContrastiveLoss, SupConLoss, TripletMarginLoss
from pytorch_metric_learning.miners import BatchHardMiner, TripletMarginMiner
from pytorch_metric_learning.reducers import DoNothingReducer, MeanReducer
from torch.nn import functional

from snnlib.losses import (
    all_pairs,
    batch_all,
    batch_hard,
    contrastive,
    nearest_semi_hard,
    prototype,
    semi_hard,
    supervised_contrastive,
)

LOSSES = (
    all_pairs,
    batch_all,
    batch_hard,
    nearest_semi_hard,
    prototype,
    semi_hard,
    supervised_contrastive,
)
WITH_MARGIN = (all_pairs, batch_all, batch_hard, nearest_semi_hard, semi_hard)
EUCLIDEAN = LpDistance(normalize_embeddings=False)


@st.composite
def batches(draw, smallest=2, copies=True):
    """Embeddings, some of them identical, with the labels of two or more classes."""
    n, d = draw(st.integers(3, 14)), draw(st.integers(2, 6))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    scale = draw(st.sampled_from([0.1, 1.0, 10.0]))
    Z = torch.tensor(scale * rng.standard_normal((n, d)), dtype=dtype)
    if copies:
        copied = torch.tensor(rng.random(n) < 0.2)
        Z = torch.where(copied[:, None], Z[rng.integers(0, n, n)], Z)
    labels = torch.tensor(rng.integers(0, draw(st.integers(2, 4)), n) * 7)
    counts = labels.unique(return_counts=True)[1]
    assume(len(counts) > 1 and counts.max() > 1 and counts.min() >= smallest - 1)
    return Z, labels, draw(st.sampled_from([0.1, 0.5, 2.0])) * scale


def near(value, dtype):
    tolerance = {torch.float64: 1e-7, torch.float32: 1e-5}[dtype]
    return pytest.approx(value, rel=tolerance, abs=tolerance)


def table(Z):
    """Distances by the formula, one pair at a time."""
    rows = Z.double().tolist()
    return [[math.dist(a, b) for b in rows] for a in rows]


def triplets(labels):
    """All (anchor, positive, negative) of a batch, by three loops."""
    y = labels.tolist()
    for a, p, n in itertools.product(range(len(y)), repeat=3):
        if a != p and y[a] == y[p] != y[n]:
            yield a, p, n


def rounding_decides(Z, margin):
    """Whether it is anybody's guess which triplets are active or semi-hard."""
    D = np.array(table(Z))
    gaps = np.abs(D[:, :, None] - D[:, None] + margin * np.array([0, 1])[:, None, None, None])
    return ((gaps < 1e-5 * margin) & (gaps > 0)).any()


def mean(values):
    return sum(values) / len(values) if values else 0.0


def naive_all_pairs(Z, labels, margin):
    D, y = table(Z), labels.tolist()
    pairs = list(itertools.combinations(range(len(y)), 2))
    pull = mean([D[i][j] ** 2 / 2 for i, j in pairs if y[i] == y[j]])
    push = mean([max(margin - D[i][j], 0) ** 2 / 2 for i, j in pairs if y[i] != y[j]])
    return (pull + push) / 2


def naive_batch_all(Z, labels, margin):
    D = table(Z)
    costs = [D[a][p] - D[a][n] + margin for a, p, n in triplets(labels)]
    return mean([cost for cost in costs if cost > 0])


def naive_semi_hard(Z, labels, margin):
    D = table(Z)
    return mean(
        [
            D[a][p] - D[a][n] + margin
            for a, p, n in triplets(labels)
            if D[a][p] < D[a][n] < D[a][p] + margin
        ]
    )


def naive_nearest_semi_hard(Z, labels, margin):
    D, chosen = table(Z), {}
    for a, p, n in triplets(labels):
        if D[a][p] < D[a][n] < D[a][p] + margin:
            chosen[a, p] = min(chosen.get((a, p), math.inf), D[a][n])
    return mean([D[a][p] - far + margin for (a, p), far in chosen.items()])


def naive_batch_hard(Z, labels, margin):
    D, y = table(Z), labels.tolist()
    costs = []
    for a in range(len(y)):
        positives = [D[a][i] for i in range(len(y)) if y[i] == y[a] and i != a]
        negatives = [D[a][i] for i in range(len(y)) if y[i] != y[a]]
        if positives:
            costs.append(max(max(positives) - min(negatives) + margin, 0))
    return mean(costs)


def naive_supervised_contrastive(Z, labels, temperature):
    y = labels.tolist()
    units = [[x / math.hypot(*row) for x in row] for row in Z.double().tolist()]
    likeness = [[sum(map(lambda x, w: x * w, u, v)) / temperature for v in units] for u in units]
    costs = []
    for i in range(len(y)):
        others = [a for a in range(len(y)) if a != i]
        below = math.log(sum(math.exp(likeness[i][a]) for a in others))
        positives = [p for p in others if y[p] == y[i]]
        if positives:
            costs.append(-mean([likeness[i][p] - below for p in positives]))
    return mean(costs)


def naive_prototype(Z, labels, temperature):
    rows, y = Z.double().tolist(), labels.tolist()
    costs = []
    for i in range(len(y)):
        squares = {}
        for k in set(y):
            members = [rows[j] for j in range(len(y)) if y[j] == k and j != i]
            if members:
                centre = [mean(column) for column in zip(*members)]
                squares[k] = math.dist(rows[i], centre) ** 2 / temperature
        if y[i] in squares:
            least = min(squares.values())
            below = sum(math.exp(least - square) for square in squares.values())
            costs.append(squares[y[i]] - least + math.log(below))
    return mean(costs)


@pytest.mark.parametrize(
    ("loss", "naive"),
    [
        (all_pairs, naive_all_pairs),
        (batch_all, naive_batch_all),
        (batch_hard, naive_batch_hard),
        (nearest_semi_hard, naive_nearest_semi_hard),
        (semi_hard, naive_semi_hard),
    ],
)
@given(batch=batches())
def test_equal_to_naive_loops(loss, naive, batch):
    Z, labels, margin = batch
    assume(not rounding_decides(Z, margin))
    assert loss(Z, labels, margin).item() == near(naive(Z, labels, margin), Z.dtype)


@given(batches(copies=False))
def test_likelihood_losses_equal_to_naive_loops(batch):
    Z, labels, _ = batch
    ours = supervised_contrastive(Z, labels, 0.3).item()
    assert ours == near(naive_supervised_contrastive(Z, labels, 0.3), Z.dtype)
    ours = prototype(Z, labels, 0.3).item()
    assert ours == near(naive_prototype(Z, labels, 0.3), Z.dtype)


@given(batches())
def test_all_pairs_equal_to_pytorch_metric_learning(batch):
    """Theirs are hinges max(D, 0) and max(m − D, 0) of each pair; ours are squared and halved."""
    Z, labels, margin = batch
    theirs = ContrastiveLoss(0, margin, distance=EUCLIDEAN, reducer=DoNothingReducer())
    terms = theirs(Z, labels)
    pull, push = (
        (0.5 * terms[kind]["losses"].double() ** 2).mean().item()
        if torch.is_tensor(terms[kind]["losses"])
        else 0.0  # what they return where there is no pair, or just one, of a kind
        for kind in ("pos_loss", "neg_loss")
    )
    positives = (labels[:, None] == labels).sum() - len(labels)
    assume(positives > 1)
    assert all_pairs(Z, labels, margin).item() == near((pull + push) / 2, Z.dtype)


@given(batches(copies=False))
def test_triplet_losses_equal_to_pytorch_metric_learning(batch):
    Z, labels, margin = batch
    assume(not rounding_decides(Z, margin))
    active = TripletMarginLoss(margin, distance=EUCLIDEAN)  # averages the costs above zero
    assert batch_all(Z, labels, margin).item() == near(active(Z, labels).item(), Z.dtype)
    miner = TripletMarginMiner(margin, distance=EUCLIDEAN, type_of_triplets="semihard")
    theirs = active(Z, labels, miner(Z, labels)).item()
    assert semi_hard(Z, labels, margin).item() == near(theirs, Z.dtype)
    every = TripletMarginLoss(margin, distance=EUCLIDEAN, reducer=MeanReducer())
    hardest = BatchHardMiner(distance=EUCLIDEAN)(Z, labels)
    theirs = every(Z, labels, hardest).item()
    assert batch_hard(Z, labels, margin).item() == near(theirs, Z.dtype)


@given(batches(copies=False), st.sampled_from([0.05, 0.1, 1.0]))
def test_supervised_contrastive_equal_to_pytorch_metric_learning(batch, temperature):
    Z, labels, _ = batch
    theirs = SupConLoss(temperature, reducer=MeanReducer())(Z, labels).item()
    counted = (labels[:, None] == labels).sum(dim=1) > 1
    theirs *= len(Z) / counted.sum().item()  # they count images without a positive as free
    ours = supervised_contrastive(Z, labels, temperature).item()
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)


@given(batches())
def test_all_pairs_is_what_balanced_pairs_cost_on_average(batch):
    Z, labels, margin = batch
    i, j = torch.triu_indices(len(Z), len(Z), offset=1)
    same = labels[i] == labels[j]
    kinds = [contrastive(Z[i[k]], Z[j[k]], same[k], margin).item() for k in (same, ~same)]
    assert all_pairs(Z, labels, margin).item() == near(sum(kinds) / 2, Z.dtype)


@pytest.mark.parametrize("loss", LOSSES)
@given(batch=batches(copies=False))
def test_gradients_equal_to_differences(loss, batch):
    Z, labels, margin = batch
    settings = (margin,) if loss in WITH_MARGIN else ()
    Z = Z.double().requires_grad_()
    loss(Z, labels, *settings).backward()
    direction = torch.randn(Z.shape, generator=torch.Generator().manual_seed(0)).double()
    step = 1e-7
    ahead, behind = (
        loss(Z.detach() + sign * step * direction, labels, *settings).item() for sign in (1, -1)
    )
    slope = (Z.grad * direction).sum().item()
    # Triplets may enter or leave an average within the step; that is a jump, not a slope.
    smooth = abs(ahead - behind) < 1e-4
    assume(smooth)
    assert slope == pytest.approx((ahead - behind) / (2 * step), rel=1e-3, abs=1e-3)


@given(batches(copies=False), st.sampled_from([0.1, 1.0]))
def test_gradient_of_supervised_contrastive_equal_to_pytorch_metric_learning(batch, temperature):
    Z, labels, _ = batch
    counted = (labels[:, None] == labels).sum(dim=1) > 1
    ours, theirs = (Z.double().requires_grad_() for _ in range(2))
    (3 * supervised_contrastive(ours, labels, temperature)).backward()
    loss = SupConLoss(temperature, reducer=MeanReducer())(theirs, labels)
    (3 * loss * len(Z) / counted.sum()).backward()
    assert torch.allclose(ours.grad, theirs.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", LOSSES)
@given(batch=batches())
def test_gradients_are_finite_and_sum_to_zero(loss, batch):
    Z, labels, _ = batch
    Z.requires_grad_()
    loss(Z, labels).backward()
    assert Z.grad.isfinite().all()
    if loss is not supervised_contrastive:  # moving the whole batch changes no distance
        assert torch.allclose(Z.grad.sum(dim=0), torch.zeros(1, dtype=Z.dtype), atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
@given(batch=batches(copies=False), seed=st.integers(0, 1000))
def test_the_order_of_a_batch_does_not_matter(loss, batch, seed):
    Z, labels, _ = batch
    order = torch.randperm(len(Z), generator=torch.Generator().manual_seed(seed))
    renamed = 100 - labels[order]
    assert loss(Z[order], renamed).item() == near(loss(Z, labels).item(), Z.dtype)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_collapsed_batch_has_no_gradient(loss):
    Z = torch.full((8, 3), 0.7, requires_grad=True)
    value = loss(Z, torch.arange(8) % 2)
    value.backward()
    assert torch.allclose(Z.grad, torch.zeros(8, 3), atol=1e-6)
    expected = {
        all_pairs: 0.25,  # ½ · ½ · m², the negative pairs alone
        batch_all: 0.5,  # the margin
        batch_hard: 0.5,
        semi_hard: 0,  # no negative is farther than a positive
        nearest_semi_hard: 0,
        prototype: math.log(2),
        supervised_contrastive: math.log(7),
    }
    assert value.item() == pytest.approx(expected[loss])


@pytest.mark.parametrize("loss", LOSSES)
def test_a_nan_is_not_lost(loss):
    for row in range(4):
        Z = torch.arange(12.0).view(4, 3) ** 2
        Z[row] = torch.nan
        assert loss(Z, torch.tensor([0, 0, 1, 1])).isnan()


@pytest.mark.parametrize("loss", WITH_MARGIN)
def test_nothing_costs_anything_where_classes_are_far_apart(loss):
    Z = torch.tensor([[0.0, 0], [0, 0], [9, 0], [9, 0]], requires_grad=True)
    value = loss(Z, torch.tensor([0, 0, 1, 1]), 1.0)
    value.backward()
    assert value.item() == 0
    assert (Z.grad == 0).all()


def test_the_loss_keeps_the_type_of_the_embeddings():
    Z, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2
    for loss, dtype in itertools.product(LOSSES, [torch.float32, torch.float64]):
        assert loss(Z.to(dtype), labels).dtype == dtype


def test_an_embedding_of_zeros_has_a_modest_gradient():
    Z = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]], requires_grad=True)
    supervised_contrastive(Z, torch.tensor([0, 0, 1, 1]), 0.5).backward()
    assert Z.grad.norm(dim=1).max() < 4


def test_distances_far_from_the_origin_are_exact():
    """A Gram matrix in single precision would lose these to rounding."""
    Z = torch.tensor([[1000.0, 0], [1000.01, 0], [1000, 1], [1000, 1.01]])
    expected = 0.5 * 0.5 * float(Z[1, 0] - Z[0, 0]) ** 2
    assert all_pairs(Z, torch.tensor([0, 0, 1, 1]), 0.5).item() == pytest.approx(expected, rel=1e-2)


def test_a_prototype_is_the_mean_of_the_others():
    Z = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    costs = [
        functional.cross_entropy(-torch.tensor([[own**2, (3.0 - z) ** 2]]), torch.tensor([0]))
        for z, own in [(0.0, 1.5), (1.0, 0.0), (2.0, 1.5)]
    ]
    expected = sum(costs) / 3
    assert prototype(Z, torch.tensor([5, 5, 5, 8])).item() == pytest.approx(expected.item())


Z = torch.zeros(4, 2)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("embeddings", "labels", "error", "message"),
    [
        (Z, torch.tensor([0, 0, 1]), ValueError, r"\(4, 2\) and \(3,\)"),
        (Z[0], torch.tensor([0, 1]), ValueError, r"\(2,\) and \(2,\)"),
        (Z, torch.tensor([0.0, 0, 1, 1]), TypeError, r"integers, got torch\.float32"),
        (Z, torch.tensor([True, False, True, False]), TypeError, r"integers, got torch\.bool"),
        (Z, np.array([0, 0, 1, 1]), TypeError, r"labels must be a tensor, got ndarray; torch\.as"),
        (Z, [0, 0, 1, 1], TypeError, r"labels must be a tensor, got list; torch\.as_tensor makes"),
        (Z.numpy(), torch.tensor([0, 0, 1, 1]), TypeError, "embeddings must be .* got ndarray; to"),
        (Z, torch.tensor([3, 3, 3, 3]), ValueError, r"two classes.*\{3: 4\}"),
        (Z, torch.tensor([0, 1, 2, 3]), ValueError, r"two images of one.*\{0: 1, 1: 1"),
    ],
)
def test_bad_batches(loss, embeddings, labels, error, message):
    with pytest.raises(error, match=message):
        loss(embeddings, labels)


@pytest.mark.parametrize("margin", [0, -1.0, float("inf"), float("nan")])
@pytest.mark.parametrize("loss", WITH_MARGIN)
def test_bad_margins(loss, margin):
    with pytest.raises(ValueError, match=f"margin must be positive and finite, got {margin}"):
        loss(Z, torch.tensor([0, 0, 1, 1]), margin)


@pytest.mark.parametrize("loss", [prototype, supervised_contrastive])
@pytest.mark.parametrize("temperature", [0, -0.1, float("inf"), float("nan")])
def test_bad_temperatures(loss, temperature):
    with pytest.raises(ValueError, match=f"temperature must be positive.*got {temperature}"):
        loss(Z, torch.tensor([0, 0, 1, 1]), temperature)


def batch_of(n=48, d=16, classes=6, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    Z = torch.tensor(rng.standard_normal((n, d)) + offset, dtype=torch.float32)
    return Z, torch.arange(n) % classes


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_rounds_the_loss_and_no_more(loss, dtype):
    """Supervised contrastive of so many was −0.0 in float16."""
    Z, labels = batch_of(600, classes=2)
    Z = Z.to(dtype).requires_grad_()
    value = loss(Z, labels)
    exact = loss(Z.detach().double(), labels)
    assert value.dtype == dtype
    assert value.item() == pytest.approx(exact.item(), rel=torch.finfo(dtype).eps)
    assert value > 0
    value.backward()
    reference = Z.detach().double().requires_grad_()
    loss(reference, labels).backward()
    scale = reference.grad.abs().max()
    assert (Z.grad.double() - reference.grad).abs().max() <= 4 * torch.finfo(dtype).eps * scale


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss):
    Z, labels = batch_of()
    Z.requires_grad_()
    expected = loss(Z, labels)
    (gradient,) = torch.autograd.grad(expected, Z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(Z, labels)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(torch.autograd.grad(value, Z)[0], gradient)


def test_batch_hard_mines_in_double():
    """Embeddings far from the origin: in float32, 34 of 64 hardest negatives were others."""
    Z, labels = batch_of(64, 8, 8, offset=1000.0)
    Z = 1000 + (Z - 1000) * 0.01
    assert batch_hard(Z, labels).item() == pytest.approx(naive_batch_hard(Z, labels, 0.5), rel=1e-6)


@pytest.mark.parametrize("loss", [prototype, supervised_contrastive])
def test_second_derivatives_equal_to_differences(loss):
    Z, labels = batch_of(8, 3, 2)
    Z = Z.double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda Z: loss(Z, labels), Z)


def test_copies_are_at_distance_zero_however_long_they_are():
    """Where products round to another value than the square of a length."""
    rng = torch.Generator().manual_seed(0)
    Z = 1e3 * torch.randn(40, 100, generator=rng, dtype=torch.double)
    Z = torch.cat([Z, Z]).requires_grad_()
    labels = torch.arange(40).repeat(2)  # the only positive of an image is its copy
    D = torch.cdist(Z, Z).fill_diagonal_(torch.inf)
    margin = 1 + D[D > 1].min().item()
    nearest = torch.where(D > 1, D, torch.inf).amin(dim=1)
    expected = (margin - nearest).clamp(min=0).mean()
    value = batch_hard(Z, labels, margin=margin)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    pull = all_pairs(Z, labels, margin=1e-9)  # no negative is that near
    assert pull.item() == 0
    pull.backward()
    assert not Z.grad.any()


def test_a_negative_that_is_farther_by_a_hair_is_semi_hard():
    Z = torch.tensor([[0.0], [1.0], [-1.0 - 1e-7]], dtype=torch.double)
    labels = torch.tensor([0, 0, 1])
    # Of the anchor in the middle; the other one has its negative far beyond the margin.
    for loss in (semi_hard, nearest_semi_hard):
        assert loss(Z, labels, margin=0.5).item() == pytest.approx(0.5 - 1e-7, abs=1e-12)
        assert loss(-Z, labels, margin=0.5).item() == pytest.approx(0.5 - 1e-7, abs=1e-12)
    Z[2] = -1.0
    assert semi_hard(Z, labels, margin=0.5).item() == 0  # as far as the positive: it is hard


def test_what_losses_take_unless_told():
    rng = torch.Generator().manual_seed(1)
    Z, labels = torch.randn(12, 3, generator=rng), torch.arange(12) % 3
    for loss, name, value in (
        (all_pairs, "margin", 1.0),
        (batch_all, "margin", 0.5),
        (semi_hard, "margin", 0.5),
        (nearest_semi_hard, "margin", 0.5),
        (batch_hard, "margin", 0.5),
        (supervised_contrastive, "temperature", 0.1),
        (prototype, "temperature", 1.0),
    ):
        assert loss(Z, labels) == loss(Z, labels, **{name: value})
        assert loss(Z, labels) != loss(Z, labels, **{name: 1.7 * value})
