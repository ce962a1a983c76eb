"""Settings of the trainings that a page shows and a benchmark repeats over seeds."""

from dataclasses import dataclass, replace

__all__ = [
    "BETTER_A",
    "BETTER_B",
    "DIGITS_CNN",
    "MAP_CNN",
    "MAP_CNN_DRAWN",
    "PIN_CNN",
    "POST_A",
    "POST_B",
    "POST_C",
    "Recipe",
]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes
    ----------
    epochs : int
        Passes over the examples.
    examples : int
        Pairs or triplets an epoch, or batches to be mined.
    batch : int
        Pairs or triplets a step; of a batch to be mined, images of each class.
    rate : float
        Learning rate, or its peak.
    margin : float or None
        Margin of the loss; None if it has none.
    fresh : bool
        Whether every epoch draws anew.
    widths : tuple of int
        Values of an image, of each hidden layer and of the embedding, of a multilayer perceptron.
    """

    epochs: int
    examples: int
    batch: int
    rate: float
    margin: float | None = None
    fresh: bool = True
    widths: tuple[int, ...] = ()


#: Contrastive pairs on MNIST as in source post A, by plain descent at a constant rate.
POST_A = Recipe(10, 60_000, 64, 0.05, margin=1.0, fresh=False, widths=(784, 128, 128, 32))
#: The same pairs drawn anew each epoch, Adam in one cycle.
BETTER_A = replace(POST_A, batch=128, rate=3e-3, fresh=True)

#: Triplets on Fashion-MNIST as in source post B, by Adam at a constant rate.
POST_B = Recipe(10, 28_500, 32, 3e-5, margin=0.4, fresh=False, widths=(784, 512, 256, 128))
#: More triplets, a wider margin, Adam in one cycle.
BETTER_B = replace(POST_B, examples=55_000, batch=256, rate=1e-3, margin=0.8, fresh=True)

#: The small CNN on digits; 240 batches of ten classes show each training image once.
DIGITS_CNN = Recipe(epochs=1, examples=240, batch=25, rate=1e-2)

#: Pairs of maps, as in source post C, but for fewer of them.
POST_C = Recipe(30, 5_000, 128, 5e-4, margin=1.0, fresh=False, widths=(1404, 512, 256, 256, 128))

#: The CNN on semi-hard triplets of whitened maps, its batches shifted by pins.
MAP_CNN = Recipe(epochs=10, examples=13, batch=15, rate=1e-3, margin=0.4)
#: Its like on drawn triplets; an epoch shows as many maps.
MAP_CNN_DRAWN = replace(MAP_CNN, epochs=6, examples=650, batch=50)

#: The tile CNN that looks at pins, on semi-hard triplets of whitened maps.
PIN_CNN = replace(MAP_CNN, epochs=20)
