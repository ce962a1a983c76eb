"""Random changes of images that leave their class as it is: layers that act in training only."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

__all__ = ["RandomAffine", "TileShift"]

MOVED = 1 / 2  # share of batches that are moved; the others keep the real pins in view


class RandomAffine(nn.Module):
    """Turn, stretch, shift and perhaps mirror each image of a batch by amounts of its own.

    To be put before an encoder: ``nn.Sequential(RandomAffine(degrees=10), encoder)``. In evaluation
    mode it hands images on as they are. What moves in from outside is 0, black. (The layer of this
    name in torchvision changes all images of a batch alike.)

    Parameters
    ----------
    degrees : float, default 0
        Largest turn to either side, in degrees.
    stretch : float, default 0
        Largest change of width and of height, each by itself, as a share below 1.
    shift : float, default 0
        Largest shift to the side and up or down, in pixels.
    mirror : bool, default False
        Whether every other image, on average, is mirrored left to right.

    Raises
    ------
    ValueError
        If an amount is negative or not finite, or `stretch` is not below 1.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        stretch: float = 0.0,
        shift: float = 0.0,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        for name, amount in {"degrees": degrees, "stretch": stretch, "shift": shift}.items():
            if not 0 <= amount < math.inf:
                raise ValueError(f"{name} must be finite and at least 0, got {amount}")
        if stretch >= 1:
            raise ValueError(f"stretch must be below 1, got {stretch}")
        self.degrees, self.stretch, self.shift, self.mirror = degrees, stretch, shift, mirror

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Change a batch of images.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point

        Returns
        -------
        Tensor, shape (n, c, h, w)
        """
        if not self.training:
            return images
        grid = functional.affine_grid(self._maps(images), list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, align_corners=False)

    def _maps(self, images):
        """Where each pixel of the new images comes from in the old: affine maps (n, 2, 3)."""
        n, _, height, width = images.shape

        def up_to(amount):
            return amount * (2 * torch.rand(n, device=images.device, dtype=images.dtype) - 1)

        turn = up_to(math.radians(self.degrees))
        across, down = 1 + up_to(self.stretch), 1 + up_to(self.stretch)
        if self.mirror:
            across = across * torch.where(up_to(1) < 0, -1, 1)
        # Coordinates run from −1 to 1 on both axes, whatever the numbers of pixels.
        maps = [
            [
                turn.cos() * across,
                -turn.sin() * down * height / width,
                up_to(self.shift * 2 / width),
            ],
            [
                turn.sin() * across * width / height,
                turn.cos() * down,
                up_to(self.shift * 2 / height),
            ],
        ]
        return torch.stack([torch.stack(row, dim=1) for row in maps], dim=1)

    def extra_repr(self) -> str:
        """Say the amounts where the layer is printed."""
        amounts = f"degrees={self.degrees}, stretch={self.stretch}, shift={self.shift}"
        return f"{amounts}, mirror={self.mirror}"


class TileShift(nn.Module):
    """Move every other batch, on average, by whole tiles: a mark on one pin becomes one on another.

    All images of a batch move by the same number of tiles, and what leaves at one edge enters at
    the other. A loss that compares images of one batch needs no other labels for it: what was of
    one class still is, and what was not still is not. In evaluation mode images are handed on.

    Parameters
    ----------
    tiles : (int, int)
        Rows and columns of tiles of an image.
    shifts : sequence of (int, int)
        Rows and columns of tiles to move by, of which one is drawn a batch; nothing moves if there
        is none. See `snnlib.nsoartc.dataset.free_shifts`.

    Raises
    ------
    ValueError
        If there is not at least one tile, or a shift is no pair of numbers.
    """

    def __init__(self, tiles: tuple[int, int], shifts: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        if len(tiles) != 2 or min(tiles) < 1:
            raise ValueError(f"tiles must be rows and columns, at least one of each, got {tiles}")
        wrong = [shift for shift in shifts if len(shift) != 2]
        if wrong:
            raise ValueError(f"a shift must be a number of rows and one of columns, got {wrong[0]}")
        self.tiles, self.shifts = tuple(tiles), [(int(r), int(c)) for r, c in shifts]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Move a batch of images, or leave it.

        Parameters
        ----------
        images : Tensor, shape (n, c, h, w), floating point
            Height and width must be multiples of the numbers of tiles.

        Returns
        -------
        Tensor, shape (n, c, h, w)

        Raises
        ------
        ValueError
            If images can't be cut into tiles.
        """
        if not self.training or not self.shifts:
            return images
        size = tuple(images.shape[2:])
        if any(length % number for length, number in zip(size, self.tiles)):
            raise ValueError(f"images of {size} can't be cut into {self.tiles} tiles")
        if torch.rand(()) >= MOVED:
            return images
        shift = self.shifts[int(torch.randint(len(self.shifts), ()))]
        steps = [n * length // number for n, length, number in zip(shift, size, self.tiles)]
        return images.roll(steps, dims=(2, 3))

    def extra_repr(self) -> str:
        """Say the tiles and the number of shifts where the layer is printed."""
        return f"tiles={self.tiles}, {len(self.shifts)} shifts"
