"""Triplets in Keras: encoder, model with three inputs, loss, batches, embeddings.

The counterpart of the PyTorch rooms for readers who live in Keras, on whatever backend Keras runs.
It takes its triplets from any object with `triplets`, `images` and `set_epoch`, such as
`snnlib.sampling.TripletDataset`. Keras and its backend load when the room is entered.
"""

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from snnlib.extras import extra
from snnlib.images import check_images

# How TensorFlow logs at first: "I0000 00:00:1700000000.1 …", "2030-01-31 …: E external/…".
_GREETING = re.compile(
    rb"[IWE]\d{4} [\d:.]+ |\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before absl"
    rb"|To enable the following instructions|Skipping registering GPU devices"  # their second lines
)


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Hold back TensorFlow's greetings on file descriptor 2, and nothing else said there."""
    if (os.environ.get("KERAS_BACKEND") or "tensorflow") != "tensorflow":
        yield
        return
    # Level 3 holds back what TensorFlow's C++ code logs once it has read it, even its errors: some
    # tell no more than the type of the processor, and what fails is raised in Python all the same.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":  # by the user's choice
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            said.seek(0)
            for line in said:
                if not _GREETING.match(line):
                    os.write(stderr, line)
            os.close(stderr)


with extra("keras"), _without_greetings():
    import keras
    from keras import ops

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices()  # the search for a GPU greets, too

__all__ = ["CosineTripletLoss", "TripletBatches", "TripletModel", "Watch", "embed", "mlp"]


class _Triplets(Protocol):
    """What is asked of triplets; `TripletDataset` has it."""

    @property
    def images(self) -> ArrayLike: ...

    @property
    def triplets(self) -> np.ndarray: ...

    def set_epoch(self, epoch: int) -> None: ...


def mlp(*widths: int, seed: int) -> keras.Sequential:
    """Multilayer perceptron with ReLU between its layers and none at its end.

    Parameters
    ----------
    *widths : int
        Number of values of an image, of each hidden layer, and of the embedding.
    seed : int
        Seed of the initial weights (Glorot and Bengio, 2010, equation 16). The global random state
        is not touched.

    Returns
    -------
    keras.Sequential
        Named "encoder"; maps (n, widths[0]) to (n, widths[-1]).

    Raises
    ------
    ValueError
        If fewer than two widths are given, or one is not positive.
    """
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"widths must be at least two positive integers, got {widths}")
    seeds = np.random.SeedSequence(seed).generate_state(len(widths) - 1)
    layers = [keras.Input((widths[0],), name="image")]
    for width, layer_seed in zip(widths[1:], seeds):
        last = len(layers) == len(widths) - 1
        layers.append(
            keras.layers.Dense(
                width,
                activation=None if last else "relu",
                kernel_initializer=keras.initializers.GlorotUniform(seed=int(layer_seed)),
            )
        )
    return keras.Sequential(layers, name="encoder")


@keras.saving.register_keras_serializable(package="snnlib")
class TripletModel(keras.Model):
    """Gives an encoder three inputs that share its weights.

    The three images pass through the encoder as one batch, which gives the same embeddings as three
    calls and takes less time.

    Parameters
    ----------
    encoder : keras.Model
        Maps (n, v) to (n, d).
    **kwargs
        `name` and `trainable`, as ``keras.Model`` takes them.

    Attributes
    ----------
    encoder : keras.Model
        The encoder, trained with the model.
    inputs : list of keras.KerasTensor
        Three inputs (n, v), named "anchor", "positive" and "negative".
    output : keras.KerasTensor
        Their embeddings (n, 3, d).
    """

    def __init__(self, encoder: keras.Model, **kwargs: Any) -> None:
        shape = encoder.input_shape[1:]
        inputs = [keras.Input(shape, name=name) for name in ("anchor", "positive", "negative")]
        embeddings = encoder(ops.concatenate(inputs))
        super().__init__(inputs, ops.stack(ops.split(embeddings, 3), axis=1), **kwargs)
        self.encoder = encoder

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> keras.callbacks.History:
        """Train as any Keras model, but on the batches as they come.

        Parameters
        ----------
        *args, **kwargs
            As ``keras.Model.fit`` takes them.
        shuffle : bool, default False
            Whether Keras shuffles the batches. Triplets come in random order as they are, the same
            in every run.

        Returns
        -------
        keras.callbacks.History
        """
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """What Keras saves: the encoder and the keywords.

        Returns
        -------
        dict
        """
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {"encoder": encoder, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Self:
        """Make the model that was saved.

        Parameters
        ----------
        config : dict
            From `get_config`.
        custom_objects : dict, optional
            Classes that the encoder is made of and Keras does not know, by their names.

        Returns
        -------
        TripletModel
        """
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        return cls(**{**config, "encoder": encoder})


@keras.saving.register_keras_serializable(package="snnlib")
class CosineTripletLoss(keras.losses.Loss):
    """Triplet loss on cosine distances, averaged over the batch.

    For one triplet with distances d(a, p) and d(a, n)::

        max(d(a, p) − d(a, n) + m, 0)

    Schroff, Kalenichenko and Philbin (2015), equation 1, where d is the squared Euclidean distance
    of unit vectors: twice the cosine distance, so their margin is twice as wide as this one. An
    embedding of zeros has no direction: its distance to anything is 1.

    Parameters
    ----------
    margin : float, default 0.4
        How much farther m the negative should be than the positive; in units of the cosine
        distance.
    name : str, default "cosine_triplet_loss"
        Name of the loss.
    **kwargs
        `reduction` and `dtype`, as ``keras.losses.Loss`` takes them.

    Raises
    ------
    ValueError
        If the margin is not positive and finite; on use, if the embeddings are not (n, 3, d).
    """

    def __init__(
        self, margin: float = 0.4, name: str = "cosine_triplet_loss", **kwargs: Any
    ) -> None:
        if not 0 < margin < float("inf"):
            raise ValueError(f"margin must be positive and finite, got {margin}")
        super().__init__(name=name, **kwargs)
        self.margin = margin

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Mean loss, called as ``loss(None, embeddings)``: no labels are read."""
        # Keras would make a tensor of the labels, and can't make one of None.
        return super().__call__((), y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each triplet.

        Parameters
        ----------
        y_true : object
            Not read.
        y_pred : Tensor, shape (n, 3, d)
            Embeddings of anchor, positive and negative.

        Returns
        -------
        Tensor, shape (n,)
        """
        if len(y_pred.shape) != 3 or y_pred.shape[1] != 3:
            raise ValueError(f"embeddings must be (n, 3, d), got shape {tuple(y_pred.shape)}")
        anchor, positive, negative = ops.unstack(_directions(y_pred), axis=1)
        closer = ops.sum(anchor * (negative - positive), axis=-1)  # d(a, p) − d(a, n)
        return ops.relu(closer + self.margin)

    def get_config(self) -> dict[str, Any]:
        """What Keras saves: the arguments.

        Returns
        -------
        dict
        """
        return super().get_config() | {"margin": self.margin, "dtype": self.dtype}


class TripletBatches(keras.utils.PyDataset):
    """Feeds triplets to Keras, gathered by index a batch at a time.

    A triplet lasts only as long as its batch, and the images are not copied as a whole. Every pass
    that Keras makes is the next epoch of `data`, beginning with the first. So leave
    `steps_per_epoch` to Keras: it would cut one pass into several.

    Parameters
    ----------
    data : TripletDataset
        Has `triplets` (n, 3), the positions; `images` (m, c, h, w), which they count; and
        ``set_epoch(epoch)``, which draws or reshuffles the triplets.
    batch_size : int
        Triplets a batch; the last one may have fewer.

    Raises
    ------
    ValueError
        If the batch size is not positive.
    """

    def __init__(self, data: _Triplets, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        super().__init__()  # with one worker: more would begin before the epoch does
        self.data, self.batch_size = data, batch_size
        self.images = _rows(data.images)
        self.epoch, self.ready = 0, False

    def __len__(self) -> int:
        return -(-len(self.data.triplets) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[tuple[np.ndarray, ...]]:
        """Anchors, positives and negatives of a batch, each (b, c · h · w), without labels."""
        start = index * self.batch_size
        positions = self.data.triplets[start : start + self.batch_size]
        return (tuple(self.images[positions.T]),)

    def on_epoch_begin(self) -> None:
        """Let `data` go on to its next epoch."""
        self.data.set_epoch(self.epoch)
        self.epoch += 1

    def on_epoch_end(self) -> None:
        """Count from here, the first time.

        Keras ends an epoch before its first, for which it may have looked at a batch.
        """
        if not self.ready:
            self.epoch, self.ready = 0, True


class Watch(keras.callbacks.Callback):
    """Warns when training goes wrong: collapse, no active triplets, a loss that is not finite.

    A loss that is not finite ends the training; the encoder keeps its weights from before that
    epoch. Stands before ``keras.callbacks.EarlyStopping``, so that those weights are the ones it
    sees.

    Parameters
    ----------
    data : TripletDataset
        Triplets that a `TripletModel` is trained on; some of their images are embedded after every
        epoch.
    """

    def __init__(self, data: _Triplets) -> None:
        super().__init__()
        self.some = _rows(data.images)[data.triplets[:256].ravel()]
        self.told: set[str] = set()

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Keep the weights.

        Parameters
        ----------
        epoch : int
            Epoch about to begin, counted from 0.
        logs : dict, optional
            Not read.
        """
        self.before = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Look at the loss and at some embeddings.

        Parameters
        ----------
        epoch : int
            Epoch that has ended, counted from 0.
        logs : dict, optional
            Holds the mean loss.
        """
        loss = (logs or {})["loss"]  # Keras always hands it over
        if not np.isfinite(loss):
            self.model.set_weights(self.before)
            self.model.stop_training = True
            self._tell(
                "Not a number",
                f"training ended in epoch {epoch + 1}: the loss was {loss}; the encoder keeps its "
                "weights from before this epoch",
            )
            return
        if loss == 0:
            self._tell(
                "Nothing is active",
                f"nothing was learned in epoch {epoch + 1}: every loss was 0, since no triplet is "
                "active",
            )
        directions = _directions(self.model.encoder(self.some))
        if ops.norm(ops.std(directions, axis=0)) <= 1e-2:
            self._tell(
                "Collapse",
                f"embeddings collapsed in epoch {epoch + 1}: all images lie in nearly one "
                "direction, so no angle tells classes apart",
            )

    def _tell(self, section: str, words: str) -> None:
        """Warn, once a section of the training clinic."""
        if section not in self.told:
            self.told.add(section)
            words = f"{words} (see “{section}” in the training clinic of the book)"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


def _rows(images: ArrayLike) -> np.ndarray:
    """Each image as a row of its values, in the memory of the images."""
    images = np.asarray(images)
    return images.reshape(len(images), -1)


def _directions(embeddings: Any) -> Any:
    # Divided by 1, a row of zeros stays what it is, and its gradient stays finite.
    squares = ops.sum(ops.square(embeddings), axis=-1, keepdims=True)
    return embeddings * ops.rsqrt(ops.where(squares == 0, 1.0, squares))


def embed(encoder: keras.Model, images: np.ndarray, batch_size: int = 1024) -> np.ndarray:
    """Embed images by a Keras encoder.

    Parameters
    ----------
    encoder : keras.Model
        Maps (n, c · h · w) to (n, d).
    images : ndarray, shape (n, c, h, w), floating point
        Images, all pixels finite.
    batch_size : int, default 1024
        Images at a time, which bounds the memory.

    Returns
    -------
    ndarray, shape (n, d), float32

    Raises
    ------
    TypeError
        If `images` is no floating-point array.
    ValueError
        If `images` is empty, has not 4 dimensions, holds a NaN or infinite pixel, or has another
        number of values than the encoder takes.
    """
    check_images(images)
    if not len(images):
        raise ValueError("images must hold at least one image, got none")
    flat = _rows(images)
    width = encoder.input_shape[-1]
    if flat.shape[1] != width:
        raise ValueError(
            f"the encoder takes {width} values an image, got images of {flat.shape[1]}"
        )
    return encoder.predict(flat, batch_size=batch_size, verbose=0)
