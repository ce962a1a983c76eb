"""Triplets in TensorFlow and Keras: encoder, model with three inputs, loss, input, embeddings.

The counterpart of the PyTorch rooms for readers who live in Keras. This room knows nothing of
PyTorch; it takes its triplets from any object with `triplets`, `images` and `set_epoch`, such as
`snnlib.sampling.TripletDataset`. TensorFlow loads when the room is entered.
"""

import contextlib
import itertools
import os
import re
import sys
import tempfile
import warnings

import numpy as np

from snnlib.images import check_images

# Level 3 holds back what TensorFlow's C++ code logs from here on, even its errors: some tell no
# more than the type of the processor, and what fails is raised in Python all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# How it logs before it has read that: "I0000 00:00:1700000000.1 …", "2030-01-31 …: E external/…".
_GREETING = re.compile(
    rb"[IWE]\d{4} [\d:.]+ |\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before absl"
    rb"|To enable the following instructions|Skipping registering GPU devices"  # their second lines
)


@contextlib.contextmanager
def _without_greetings():
    """Hold back TensorFlow's greetings on file descriptor 2, and nothing else said there."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":  # by the user's choice
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


try:
    with _without_greetings():
        import keras
        import tensorflow as tf
        from keras import ops

        tf.config.list_physical_devices()  # the search for a GPU greets, too
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"snnlib.keras_triplets needs TensorFlow with Keras 3 ({error}); "
        "pip install tensorflow brings both"
    ) from error

__all__ = ["CosineTripletLoss", "Watch", "embed", "mlp", "triplet_batches", "triplet_model"]

TENSOR_ALIGNMENT = 64  # bytes; TensorFlow takes over no memory that begins elsewhere


def mlp(*widths, seed):
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
    keras.Model
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


def triplet_model(encoder):
    """Give an encoder three inputs that share its weights.

    The three images pass through the encoder as one batch, which gives the same embeddings as three
    calls and takes less time.

    Parameters
    ----------
    encoder : keras.Model
        Maps (n, v) to (n, d).

    Returns
    -------
    keras.Model
        Maps three inputs (n, v), named "anchor", "positive" and "negative", to embeddings
        (n, 3, d).
    """
    shape = encoder.input_shape[1:]
    inputs = [keras.Input(shape, name=name) for name in ("anchor", "positive", "negative")]
    embeddings = encoder(ops.concatenate(inputs))
    return keras.Model(inputs, ops.stack(ops.split(embeddings, 3), axis=1), name="triplet_model")


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
    name : str, optional
        Name of the loss.

    Raises
    ------
    ValueError
        If the margin is not positive and finite; on use, if the embeddings are not (n, 3, d).
    """

    def __init__(self, margin=0.4, name="cosine_triplet_loss"):
        if not 0 < margin < float("inf"):
            raise ValueError(f"margin must be positive and finite, got {margin}")
        super().__init__(name=name)
        self.margin = margin

    def call(self, y_true, y_pred):
        """Loss of each triplet.

        Parameters
        ----------
        y_true : Tensor, shape (n,)
            Not read: a triplet needs no label. Keras wants one all the same.
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

    def get_config(self):
        """What Keras saves: the margin and the name.

        Returns
        -------
        dict
        """
        return {"margin": self.margin, "name": self.name}


def triplet_batches(data, batch_size):
    """Feed triplets to Keras, gathered by index a batch at a time.

    TensorFlow holds one copy of the images, however many triplets there are, and a triplet only for
    as long as its batch. Every pass is the next epoch of `data`, beginning with the first.

    Parameters
    ----------
    data : TripletDataset
        Has `triplets` (n, 3), the positions; `images` (m, c, h, w), which they count; and
        ``set_epoch(epoch)``, which draws or reshuffles the triplets.
    batch_size : int
        Triplets a batch; the last one may have fewer.

    Returns
    -------
    tf.data.Dataset
        Of ((anchor, positive, negative), zeros): three arrays (b, c · h · w), float32, and the
        labels (b,) that Keras wants and the loss does not read.

    Raises
    ------
    ValueError
        If the batch size is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    images, passes = _as_tensor(np.asarray(data.images)), itertools.count()

    def next_epoch():
        data.set_epoch(next(passes))
        return data.triplets

    @tf.autograph.experimental.do_not_convert
    def positions(_):
        return tf.ensure_shape(tf.numpy_function(next_epoch, [], tf.int64), (None, 3))

    @tf.autograph.experimental.do_not_convert
    def gather(positions):
        three = tf.unstack(tf.gather(images, tf.transpose(positions)))
        return tuple(three), tf.zeros(tf.shape(positions)[:1])

    # Python hands over the positions of a whole epoch at once: asked for every batch, its lock
    # would hold up the training.
    steps = -(-len(data.triplets) // batch_size)
    batches = tf.data.Dataset.range(1).map(positions).unbatch().batch(batch_size).map(gather)
    batches = batches.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)
    return batches.with_options(_without_rewriting())


def _without_rewriting():
    """TensorFlow would copy all images once more while it looks for a faster pipeline."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return options


def _as_tensor(images):
    """Images as a tensor (m, v) in one copy; `tf.constant` would hold two."""
    flat = images.reshape(len(images), -1)
    memory = np.empty(flat.nbytes + TENSOR_ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % TENSOR_ALIGNMENT
    aligned = memory[start : start + flat.nbytes].view(flat.dtype).reshape(flat.shape)
    aligned[:] = flat
    return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())


class Watch(keras.callbacks.Callback):
    """Warns when training goes wrong: collapse, no active triplets, a loss that is not finite.

    A loss that is not finite ends the training; the encoder keeps its weights from before that
    epoch. Stands before ``keras.callbacks.EarlyStopping``, so that those weights are the ones it
    sees.

    Parameters
    ----------
    data : TripletDataset
        Triplets being trained on; some of their images are embedded after every epoch.
    """

    def __init__(self, data):
        super().__init__()
        images = np.asarray(data.images)
        self.some = images.reshape(len(images), -1)[data.triplets[:256].ravel()]
        self.told = set()

    def on_epoch_begin(self, epoch, logs=None):
        """Keep the weights.

        Parameters
        ----------
        epoch : int
            Epoch about to begin, counted from 0.
        logs : dict, optional
            Not read.
        """
        self.before = self.model.get_weights()

    def on_epoch_end(self, epoch, logs=None):
        """Look at the loss and at some embeddings.

        Parameters
        ----------
        epoch : int
            Epoch that has ended, counted from 0.
        logs : dict, optional
            Holds the mean loss.
        """
        loss = logs["loss"]
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
        directions = _directions(self.model.get_layer("encoder")(self.some))
        if ops.norm(ops.std(directions, axis=0)) <= 1e-2:
            self._tell(
                "Collapse",
                f"embeddings collapsed in epoch {epoch + 1}: all images lie in nearly one "
                "direction, so no angle tells classes apart",
            )

    def _tell(self, section, words):
        """Warn, once a section of the training clinic."""
        if section not in self.told:
            self.told.add(section)
            words = f"{words} (see “{section}” in the training clinic of the book)"
            warnings.warn(words, RuntimeWarning, stacklevel=2)


def _directions(embeddings):
    # Divided by 1, a row of zeros stays what it is, and its gradient stays finite.
    squares = ops.sum(ops.square(embeddings), axis=-1, keepdims=True)
    return embeddings * ops.rsqrt(ops.where(squares == 0, 1.0, squares))


def embed(encoder, images, batch_size=1024):
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
    flat = images.reshape(len(images), -1)
    width = encoder.input_shape[-1]
    if flat.shape[1] != width:
        raise ValueError(
            f"the encoder takes {width} values an image, got images of {flat.shape[1]}"
        )
    return encoder.predict(flat, batch_size=batch_size, verbose=0)
