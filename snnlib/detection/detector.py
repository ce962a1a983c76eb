"""A network that lays a picture beside its template and says where they differ, and how."""

from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["STRIDE", "Detector", "Looks", "distance_map"]

#: Pixels along a side of the cells into which a detector divides a picture.
STRIDE = 8
#: What the head of a detector may be given.
Looks = Literal["difference", "both", "tested"]

WIDTHS = 32, 64  # channels of the two layers of the encoder; the layers above are as wide
DEPTH = 3  # layers above the encoder
RARE = -4.0  # log-odds of a defect that a cell begins with: few cells hold one


class Detector(nn.Module):
    """Siamese detector: one encoder for both pictures, and a head on both embeddings of a cell.

    The head says for each cell how sure it is that a defect has its middle there, how far the four
    sides of its box are, and of which kind it is. Where and how far are told in one step, as by
    CenterNet (Zhou et al., 2019) and FCOS (Tian et al., 2019); whether there is a defect at all is
    one question for all kinds, so that a kind that was never seen may be found as well.

    Parameters
    ----------
    kinds : int
        How many kinds of defects there are.
    looks : {"difference", "both", "tested"}, default "difference"
        What the head is given: the embeddings of both pictures and how far they differ, value by
        value; the two embeddings; or that of the tested picture alone.
    seed : int
        Seed of the initial weights. The global random state is left as it was.

    Raises
    ------
    ValueError
        If there is no kind, or `looks` is unknown.
    """

    def __init__(self, kinds: int, looks: Looks = "difference", *, seed: int) -> None:
        if kinds < 1:
            raise ValueError(f"there must be at least one kind, got {kinds}")
        if looks not in get_args(Looks):
            raise ValueError(f"looks must be one of {', '.join(get_args(Looks))}; got {looks!r}")
        super().__init__()
        self.looks = looks
        narrow, wide = WIDTHS
        given = {"difference": 3, "both": 2, "tested": 1}[looks] * wide
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            # Four pixels become four channels, so that the first layer works on a quarter of them.
            self.encoder = nn.Sequential(
                nn.PixelUnshuffle(2), *_layer(4, narrow, stride=2), *_layer(narrow, wide, stride=2)
            )
            widths = [given] + [wide] * DEPTH
            self.trunk = nn.Sequential(
                *(part for pair in pairwise(widths) for part in _layer(*pair))
            )
            self.heat = nn.Conv2d(wide, 1, 1)
            self.sides = nn.Conv2d(wide, 4, 1)
            self.embedding = nn.Conv2d(wide, wide, 1)
            self.kinds = nn.Conv2d(wide, kinds, 1)
        nn.init.constant_(self.heat.get_parameter("bias"), RARE)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def embed(self, pictures: Tensor) -> Tensor:
        """Embed cells of pictures by the encoder that both share.

        Parameters
        ----------
        pictures : Tensor, shape (n, 1, h, w)
            Pictures with values in [0, 1].

        Returns
        -------
        Tensor, shape (n, 64, h / 8, w / 8)
        """
        return self.encoder(pictures.contiguous(memory_format=torch.channels_last))

    def see(self, pairs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the head says of each cell, and how it sees it.

        Parameters
        ----------
        pairs : Tensor, shape (b, 2, h, w)
            Template and tested picture of each pair, h and w multiples of 8.

        Returns
        -------
        heat : Tensor, shape (b, 1, h / 8, w / 8)
            Log-odds that a defect has its middle in a cell.
        sides : Tensor, shape (b, 4, h / 8, w / 8)
            Cells from the middle of a cell to the left, upper, right and lower side of its box.
        embeddings : Tensor, shape (b, 64, h / 8, w / 8)
            How the head sees a cell: from it, the kind is told by one linear layer.
        """
        if self.looks == "tested":
            given = self.embed(pairs[:, 1:])
        else:
            template, tested = self.embed(torch.cat([pairs[:, :1], pairs[:, 1:]])).chunk(2)
            parts = [template, tested]
            if self.looks == "difference":
                parts.append((template - tested).abs())
            given = torch.cat(parts, dim=1)
        seen = self.trunk(given)
        return self.heat(seen), functional.softplus(self.sides(seen)), self.embedding(seen)

    def forward(self, pairs: Tensor) -> Tensor:
        """All that is said of each cell.

        Parameters
        ----------
        pairs : Tensor, shape (b, 2, h, w)
            As of `see`.

        Returns
        -------
        Tensor, shape (b, 5 + kinds, h / 8, w / 8)
            Heat, four sides, and a logit for each kind.
        """
        heat, sides, embeddings = self.see(pairs)
        return torch.cat([heat, sides, self.kinds(functional.relu(embeddings))], dim=1)


def _layer(narrow, wide, stride=1):
    """Convolution, normalisation, ReLU."""
    return (
        nn.Conv2d(narrow, wide, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(wide),
        nn.ReLU(inplace=True),
    )


def distance_map(detector: Detector, pairs: Tensor) -> Tensor:
    """How far apart template and tested picture lie in each cell, for the encoder alone.

    Parameters
    ----------
    detector : Detector
        In evaluation mode, trained or not.
    pairs : Tensor, shape (b, 2, h, w)
        As of `Detector.see`.

    Returns
    -------
    Tensor, shape (b, h / 8, w / 8)
        Euclidean distance of the two embeddings of a cell.
    """
    template, tested = (detector.embed(pairs[:, [k]]) for k in (0, 1))
    return torch.linalg.vector_norm(template - tested, dim=1)
