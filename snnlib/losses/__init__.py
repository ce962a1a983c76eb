"""Losses as plain functions of embeddings. This room knows nothing of data or encoders.

`drawn` holds the losses of pairs and triplets that were drawn beforehand, `mined` those that find
their pairs and triplets in a batch.
"""

from snnlib.losses.drawn import contrastive, cosine, cosine_triplet, euclidean, triplet
from snnlib.losses.mined import (
    all_pairs,
    batch_all,
    batch_hard,
    nearest_semi_hard,
    prototype,
    semi_hard,
    supervised_contrastive,
)

__all__ = [
    "all_pairs",
    "batch_all",
    "batch_hard",
    "contrastive",
    "cosine",
    "cosine_triplet",
    "euclidean",
    "nearest_semi_hard",
    "prototype",
    "semi_hard",
    "supervised_contrastive",
    "triplet",
]
