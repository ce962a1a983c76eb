"""Losses of a batch: from embeddings and labels they find the pairs and triplets themselves.

A batch of n embeddings holds about n²/2 pairs and up to n³ triplets. No function here holds more
than a few n × n tables: sums over triplets are taken without listing them.

Distances are Euclidean, without squaring. They are computed in double precision, since a difference
of two large numbers stands behind a small distance (in single precision on Apple's MPS, which has
no other). Distances too small to be told from rounding count as zero, and have no gradient.
Embeddings in half precision are widened, also under autocast, and only the loss is rounded.
"""

import torch
from torch.nn import functional

from snnlib.losses.drawn import check_margin, check_tensors, directions

__all__ = [
    "all_pairs",
    "batch_all",
    "batch_hard",
    "nearest_semi_hard",
    "prototype",
    "semi_hard",
    "supervised_contrastive",
]

HALF = torch.float16, torch.bfloat16


def all_pairs(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Contrastive loss of all pairs of a batch, positive and negative ones weighing the same.

    The value that `contrastive` has on average over balanced pairs drawn from the batch::

        ½ · mean of ½ · D² over positive pairs + ½ · mean of ½ · max(m − D, 0)² over negative pairs

    Hadsell, Chopra and LeCun (2006), equation 4.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    margin : float, default 1.0
        Distance m beyond which a negative pair costs nothing; in units of D.

    Returns
    -------
    Tensor, scalar

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the margin is not
        positive and finite.
    """
    _check(embeddings, labels, margin)
    D = _distances(embeddings)
    same, positive = _kinds(labels)
    pull = D.square().masked_fill(~positive, 0).sum() / positive.sum()
    push = (margin - D).clamp(min=0).square().masked_fill(same, 0).sum() / (~same).sum()
    return (0.25 * (pull + push)).to(embeddings.dtype)


def batch_all(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.5) -> torch.Tensor:
    """Triplet loss averaged over all active triplets of a batch.

    Active are the triplets that cost something, d(a, n) < d(a, p) + m. Hermans, Beyer and Leibe
    (2017), equation 6, averaged over the non-zero terms as they recommend.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    margin : float, default 0.5
        How much farther m a negative should be than a positive; in units of the distance.

    Returns
    -------
    Tensor, scalar
        Zero, with zero gradient, if no triplet is active.

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the margin is not
        positive and finite.
    """
    _check(embeddings, labels, margin)
    return _mean_over_triplets(embeddings, labels, margin, beyond=False)


def semi_hard(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.5) -> torch.Tensor:
    """Triplet loss averaged over all semi-hard triplets of a batch.

    Semi-hard are the triplets whose negative is farther than the positive, but not by the margin:
    d(a, p) < d(a, n) < d(a, p) + m. Schroff, Kalenichenko and Philbin (2015), section 3.2, who
    compare squared distances. For one negative a pair see `nearest_semi_hard`.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    margin : float, default 0.5
        How much farther m a negative should be than a positive; in units of the distance.

    Returns
    -------
    Tensor, scalar
        Zero, with zero gradient, if no triplet is semi-hard.

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the margin is not
        positive and finite.
    """
    _check(embeddings, labels, margin)
    return _mean_over_triplets(embeddings, labels, margin, beyond=True)


def nearest_semi_hard(
    embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.5
) -> torch.Tensor:
    """Triplet loss of every positive pair with its one nearest semi-hard negative.

    For each anchor and positive, of all negatives with d(a, p) < d(a, n) < d(a, p) + m the one
    nearest to the anchor; pairs that have none do not count. Schroff, Kalenichenko and Philbin
    (2015), section 3.2, state the condition, for squared distances; which of several negatives is
    taken they leave open. The loss of TensorFlow Addons takes the nearest, too, and for pairs that
    have none the farthest negative of all.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    margin : float, default 0.5
        How much farther m a negative should be than a positive; in units of the distance.

    Returns
    -------
    Tensor, scalar
        Zero, with zero gradient, if no triplet is semi-hard.

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the margin is not
        positive and finite.
    """
    _check(embeddings, labels, margin)
    D = _distances(embeddings)
    same, positive = _kinds(labels)
    with torch.no_grad():
        anchors, columns, order, begin, end = _runs(D, same, positive, margin, beyond=True)
        there = (begin < end)[anchors, columns]
        negatives = order[anchors, begin[anchors, columns].clamp(max=len(D) - 1)]
    cost = D[positive] - D[anchors, negatives] + margin
    # A NaN is in no window, but must not pass in silence.
    cost = torch.where(there | cost.isnan(), cost, 0)
    return (cost.sum() / there.sum().clamp(min=1)).to(embeddings.dtype)


def batch_hard(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.5) -> torch.Tensor:
    """Triplet loss of every anchor with its farthest positive and its nearest negative.

    Hermans, Beyer and Leibe (2017), equation 5, averaged over the anchors. An anchor without a
    positive in the batch does not count.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    margin : float, default 0.5
        How much farther m the negative should be than the positive; in units of the distance.

    Returns
    -------
    Tensor, scalar

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the margin is not
        positive and finite.
    """
    _check(embeddings, labels, margin)
    same = labels[:, None] == labels
    Z = _widened(embeddings)
    farthest, nearest = _hardest(Z, same)
    to_positive = torch.linalg.vector_norm(Z - Z[farthest], dim=1)
    to_negative = torch.linalg.vector_norm(Z - Z[nearest], dim=1)
    cost = (to_positive - to_negative + margin).clamp(min=0)
    return cost[same.sum(dim=1) > 1].mean().to(embeddings.dtype)


@torch.no_grad()  # choosing needs no gradient: only the chosen distances do
def _hardest(Z, same):
    """Farthest positive and nearest negative of each anchor."""
    # Squared distances, less the anchor's own length: in a row that changes no order.
    squares = torch.addmm(Z.square().sum(dim=1), Z, Z.T, alpha=-2)
    farthest = squares.masked_fill(~same, -torch.inf).argmax(dim=1)
    return farthest, squares.masked_fill_(same, torch.inf).argmin(dim=1)


def supervised_contrastive(
    embeddings: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1
) -> torch.Tensor:
    """Supervised contrastive loss: each positive should stand out from all others of the batch.

    On unit vectors z, with P(i) the positives of image i and A(i) all images but i::

        mean over i of −1/|P(i)| · Σ over p in P(i) of
            log( exp(zᵢ·zₚ / τ) / Σ over a in A(i) of exp(zᵢ·zₐ / τ) )

    Khosla et al. (2020), equation 2. An image without a positive in the batch is no i.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch, of any length: the loss scales them to length one.
    labels : Tensor, shape (n,), int
        Their classes.
    temperature : float, default 0.1
        τ; the smaller it is, the more the nearest images count. No unit.

    Returns
    -------
    Tensor, scalar

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the temperature
        is not positive and finite.
    """
    _check(embeddings, labels)
    _check_temperature(temperature)
    # Exponentials need no double precision, but more than half; autocast would take half again.
    Z = embeddings.float() if embeddings.dtype in HALF else embeddings
    Z = directions(Z) / temperature**0.5  # on both factors, so that it divides their products
    positive = (labels[:, None] == labels).fill_diagonal_(False).to(Z.dtype)
    count = positive.sum(dim=1)
    share = positive / (count.clamp(min=1) * count.count_nonzero())[:, None]
    with torch.autocast(Z.device.type, enabled=False):
        return _CrossEntropyOfProducts.apply(Z, share).to(embeddings.dtype)


class _CrossEntropyOfProducts(torch.autograd.Function):
    """−Σ share · log softmax(Z · Zᵀ), no row being its own candidate.

    Its gradient in closed form takes one product of matrices where autograd takes two.
    """

    @staticmethod
    def forward(context, Z, share):
        # Finite, since 0 · ∞ would be NaN.
        logits = (Z @ Z.T).fill_diagonal_(torch.finfo(Z.dtype).min / 2)
        logarithms = logits.log_softmax(dim=1)
        context.save_for_backward(Z, share, logarithms)
        return -torch.dot(logarithms.flatten(), share.flatten())

    @staticmethod
    def backward(context, gradient):
        Z, share, logarithms = context.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted, so this must follow from Z
            itself = torch.eye(len(Z), dtype=torch.bool, device=Z.device)
            products = (Z @ Z.T).masked_fill(itself, torch.finfo(Z.dtype).min / 2)
            logarithms = products.log_softmax(dim=1)
        slopes = torch.addcmul(-share, logarithms.exp(), share.sum(dim=1, keepdim=True))
        return (slopes + slopes.T) * gradient @ Z, None


def prototype(
    embeddings: torch.Tensor, labels: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Prototype loss: each image should be nearest to the centre of its class.

    With c_k the mean embedding of class k in the batch, image i of class y costs::

        −log( exp(−‖zᵢ − c_y‖² / τ) / Σ over k of exp(−‖zᵢ − c_k‖² / τ) )

    Snell, Swersky and Zemel (2017), equations 1 and 2, with τ = 1. There centres come from images
    of their own; here every image of the batch serves as both, and the centre of its own class is
    taken without it. An image that is alone in its class does not count, except as a centre.

    Parameters
    ----------
    embeddings : Tensor, shape (n, d), floating point
        Embeddings of the batch.
    labels : Tensor, shape (n,), int
        Their classes.
    temperature : float, default 1.0
        τ, in units of the squared distance. Embeddings of length one, whose squared distances are
        at most 4, need a small one, such as 0.1.

    Returns
    -------
    Tensor, scalar
        Mean over the images.

    Raises
    ------
    TypeError
        If embeddings or labels are no tensors, or the labels are not integers.
    ValueError
        If shapes do not match, the batch lacks a positive or a negative pair, or the temperature
        is not positive and finite.
    """
    _check(embeddings, labels)
    _check_temperature(temperature)
    _, of, size = labels.unique(return_inverse=True, return_counts=True)
    Z = _widened(embeddings)
    # A product, since adding up by index would depend on the order that a GPU happens to take.
    centres = functional.one_hot(of).T.to(Z.dtype) @ Z / size[:, None]
    squares = Z.square().sum(dim=1)[:, None] + centres.square().sum(dim=1) - 2 * Z @ centres.T
    # Without the image itself its centre moves away from it: the distance grows by n / (n − 1).
    own, members = of[:, None], size[of].to(Z.dtype)
    counts = members > 1
    growth = members / (members - 1).clamp(min=1)
    squares = squares.scatter(1, own, squares.gather(1, own) * growth.square()[:, None])
    return functional.cross_entropy(-squares[counts] / temperature, of[counts]).to(embeddings.dtype)


def _check(embeddings, labels, margin=None):
    check_tensors("embeddings", embeddings)
    check_tensors("labels", labels)
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            "expected embeddings (n, d) and one label each, got shapes "
            f"{tuple(embeddings.shape)} and {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if margin is not None:
        check_margin(margin)
    names, counts = labels.unique(return_counts=True)
    if len(names) < 2 or len(names) == len(labels):
        raise ValueError(
            "a batch needs two classes, and two images of one of them, got images by class "
            f"{dict(zip(names.tolist(), counts.tolist()))}"
        )


def _check_temperature(temperature):
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")


def _kinds(labels):
    """Tables (n, n): which images are of one class; the same without an image and itself."""
    same = labels[:, None] == labels
    return same, same.clone().fill_diagonal_(False)


def _widened(embeddings):
    return embeddings if embeddings.device.type == "mps" else embeddings.double()


def _distances(embeddings):
    """Euclidean distances (n, n), differentiable also where two embeddings are equal."""
    Z = _widened(embeddings)
    products = Z @ Z.T
    lengths = products.diagonal()
    scale = lengths[:, None] + lengths
    squares = scale - 2 * products
    # Rounding leaves of equal rows not quite 0, and the root has an infinite slope there.
    zero = squares <= 64 * torch.finfo(Z.dtype).eps * scale
    return squares.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


def _runs(D, same, positive, margin, *, beyond):
    """For each positive pair the negatives nearer than d(a, p) + m, as a run in their order.

    With the negatives of an anchor in order of their distance, those that form an active triplet
    with a given positive stand side by side. If `beyond`, only those farther than the positive.

    Returns each positive pair's anchor and place among the anchor's positives; the order of the
    negatives of each anchor, (n, n); and where runs begin and end in it, (n, k), for the largest
    number k of positives. Rows with fewer positives end in empty runs.
    """
    anchors = positive.nonzero()[:, 0]
    columns = (positive.cumsum(dim=1) - 1)[positive]
    to_positive = D.new_full((len(D), int(columns.max()) + 1), -torch.inf)
    to_positive[anchors, columns] = D[positive]
    near_first, order = D.masked_fill(same, torch.inf).sort(dim=1)
    end = torch.searchsorted(near_first, to_positive + margin)
    if not beyond:
        return anchors, columns, order, torch.zeros_like(end), end
    # Farther, and not just by rounding, which a difference of squares has made larger.
    rounding = 1e-9 if D.dtype == torch.double else 1e-5
    begin = torch.searchsorted(near_first, to_positive * (1 + rounding), right=True)
    return anchors, columns, order, torch.minimum(begin, end), end


def _mean_over_triplets(embeddings, labels, margin, *, beyond):
    """Mean of d(a, p) − d(a, n) + m over the triplets of all runs.

    The sum over triplets is a sum over distances: each weighs as many times as triplets hold it,
    plus as a positive's, minus as a negative's. So counting takes n² log n steps.
    """
    D = _distances(embeddings)
    same, positive = _kinds(labels)
    with torch.no_grad():
        anchors, columns, order, begin, end = _runs(D, same, positive, margin, beyond=beyond)
        runs = end - begin
        # Runs that hold a negative: one more from each beginning on, one less from each end. Adding
        # whole numbers up gives the same in any order, also that of a GPU.
        changes = D.new_zeros(len(D), len(D) + 1)
        one = changes.new_ones(1).expand_as(begin)
        changes.scatter_add_(1, begin, one).scatter_add_(1, end, -one)
        holding = changes.cumsum(dim=1)[:, :-1]
        weights = torch.zeros_like(D).scatter_(1, order, -holding)
        weights[positive] = runs[anchors, columns].to(D.dtype)
        total = runs.sum()
    return (((weights * D).sum() + margin * total) / total.clamp(min=1)).to(embeddings.dtype)
