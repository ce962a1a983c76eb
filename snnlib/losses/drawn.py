"""Losses of pairs and triplets that were drawn beforehand."""

import torch
from torch.nn import functional

__all__ = ["contrastive", "cosine", "cosine_triplet", "euclidean", "triplet"]


def check_tensors(name: str, *values: object) -> None:
    """Refuse arrays and lists, before PyTorch stumbles over them somewhere inside."""
    for value in values:
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"{name} must be a tensor, got {type(value).__name__}; torch.as_tensor makes one"
            )


def _check_same_shape(*embeddings):
    check_tensors("embeddings", *embeddings)
    if embeddings[0].ndim != 2 or len({z.shape for z in embeddings}) > 1:
        shapes = " and ".join(str(tuple(z.shape)) for z in embeddings)
        raise ValueError(f"embeddings must be tensors of one shape (n, d), got {shapes}")


def check_margin(margin: float) -> None:
    """Refuse a margin that is not a positive, finite number."""
    if not 0 < margin < float("inf"):
        raise ValueError(f"margin must be positive and finite, got {margin}")


def euclidean(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Euclidean distance of matching rows, differentiable everywhere.

    The derivative of √x is infinite at x = 0, and 0 · ∞ is NaN. PyTorch's norm masks that root: for
    rows that are equal the distance is exactly 0, and so is its gradient. The value itself carries
    no epsilon.

    Parameters
    ----------
    first, second : Tensor, shape (n, d), floating point
        Embeddings.

    Returns
    -------
    Tensor, shape (n,)
        ``‖first − second‖`` row by row.

    Raises
    ------
    TypeError
        If embeddings are no tensors.
    ValueError
        If the shapes differ or are not (n, d).
    """
    _check_same_shape(first, second)
    return torch.linalg.vector_norm(first - second, dim=1)


def contrastive(
    first: torch.Tensor, second: torch.Tensor, same: torch.Tensor, margin: float = 1.0
) -> torch.Tensor:
    """Contrastive loss of pairs, averaged over the batch.

    For one pair with distance D and Y = 1 if both show the same class, Y = 0 otherwise::

        ½ · Y · D² + ½ · (1 − Y) · max(m − D, 0)²

    Hadsell, Chopra and LeCun (2006), equation 4, where Y stands for the opposite: there Y = 0
    means "same".

    Parameters
    ----------
    first, second : Tensor, shape (n, d), floating point
        Embeddings of the two images of each pair.
    same : Tensor, shape (n,), bool
        Whether the two images show the same class.
    margin : float, default 1.0
        Distance m beyond which a pair of different classes costs nothing; in units of D.

    Returns
    -------
    Tensor, scalar
        Mean loss.

    Raises
    ------
    TypeError
        If embeddings or `same` are no tensors, or `same` is not boolean.
    ValueError
        If shapes do not match, or the margin is not positive and finite.
    """
    _check_same_shape(first, second)
    check_tensors("same", same)
    check_margin(margin)
    if same.dtype != torch.bool:
        raise TypeError(f"same must be boolean (True = same class), got {same.dtype}")
    if same.shape != first.shape[:1]:
        raise ValueError(
            f"same must have shape ({len(first)},), one value a pair, got {tuple(same.shape)}"
        )
    distances = euclidean(first, second)
    return 0.5 * torch.where(same, distances, (margin - distances).clamp(min=0)).square().mean()


def cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Cosine distance of matching rows: one minus the cosine of their angle.

    Parameters
    ----------
    first, second : Tensor, shape (n, d), floating point
        Embeddings. A row of zeros has no direction: its distance to anything is 1.

    Returns
    -------
    Tensor, shape (n,)
        From 0 (same direction) over 1 (right angle) to 2 (opposite).

    Raises
    ------
    TypeError
        If embeddings are no tensors.
    ValueError
        If the shapes differ or are not (n, d).
    """
    _check_same_shape(first, second)
    return 1 - (directions(first) * directions(second)).sum(dim=1)


def directions(embeddings: torch.Tensor) -> torch.Tensor:
    """Scale rows to length one; a row of zeros stays one.

    By hand, since `torch.nn.functional.normalize` divides a row of zeros by 1e-12: one dead image
    would have a gradient that drowns all others. Divided by 1, it has one like theirs.
    """
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    return embeddings / norms.masked_fill(norms == 0, 1)


def cosine_triplet(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float = 0.4
) -> torch.Tensor:
    """Triplet loss on cosine distances, averaged over the batch.

    For one triplet with distances d(a, p) and d(a, n)::

        max(d(a, p) − d(a, n) + m, 0)

    Schroff, Kalenichenko and Philbin (2015), equation 1, where d is the squared Euclidean distance
    of unit vectors: twice the cosine distance, so their margin is twice as wide as this one.

    Parameters
    ----------
    anchor, positive, negative : Tensor, shape (n, d), floating point
        Embeddings of the three images of each triplet.
    margin : float, default 0.4
        How much farther m the negative should be than the positive; in units of the cosine
        distance.

    Returns
    -------
    Tensor, scalar
        Mean loss.

    Raises
    ------
    TypeError
        If embeddings are no tensors.
    ValueError
        If shapes differ or are not (n, d), or the margin is not positive and finite.
    """
    _check_same_shape(anchor, positive, negative)
    check_margin(margin)
    return functional.triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=cosine, margin=margin
    )


def triplet(
    anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, margin: float = 0.5
) -> torch.Tensor:
    """Triplet loss on Euclidean distances, averaged over the batch.

    For one triplet::

        max(‖a − p‖ − ‖a − n‖ + m, 0)

    Weinberger and Saul (2009), equation 12, and Schroff, Kalenichenko and Philbin (2015), equation
    3, have it with squared distances.

    Parameters
    ----------
    anchor, positive, negative : Tensor, shape (n, d), floating point
        Embeddings of the three images of each triplet.
    margin : float, default 0.5
        By how much the negative is to be farther away; in units of the distance.

    Returns
    -------
    Tensor, scalar
        Mean loss.

    Raises
    ------
    TypeError
        If embeddings are no tensors.
    ValueError
        If shapes do not match, or the margin is not positive and finite.
    """
    check_margin(margin)
    nearer, farther = euclidean(anchor, positive), euclidean(anchor, negative)
    return (nearer - farther + margin).clamp(min=0).mean()
