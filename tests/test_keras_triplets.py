import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from snnlib import losses, sampling
from snnlib.images import ImageSet
from snnlib.keras_triplets import (
    CosineTripletLoss,
    TripletBatches,
    TripletModel,
    Watch,
    embed,
    keras,
    mlp,
)


def compiled(seed=0, loss=None, rate=0.01):
    model = TripletModel(mlp(16, 8, 4, seed=seed))
    model.compile(keras.optimizers.Adam(rate), loss or CosineTripletLoss(0.4))
    return model


def train(model, data, epochs=2, **settings):
    return model.fit(TripletBatches(data, 16), epochs=epochs, verbose=0, **settings)


def same_weights(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights()))


@given(
    n=st.integers(1, 12),
    d=st.integers(2, 8),
    seed=st.integers(0, 1000),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    margin=st.sampled_from([0.1, 0.4, 1.5]),
)
def test_loss_equal_to_ours_in_pytorch_and_to_torch(n, d, seed, scale, margin):
    three = scale * np.random.default_rng(seed).standard_normal((3, n, d)).astype(np.float32)
    three[1, ::3] = three[0, ::3]  # some positives are their anchors
    value = float(CosineTripletLoss(margin)(None, three.transpose(1, 0, 2)))
    tensors = torch.from_numpy(three)
    assert value == pytest.approx(losses.cosine_triplet(*tensors, margin).item(), abs=1e-5)
    theirs = functional.triplet_margin_with_distance_loss(
        *tensors,
        distance_function=lambda x, y: 1 - functional.cosine_similarity(x, y),
        margin=margin,
    )
    assert value == pytest.approx(theirs.item(), abs=1e-5)


def test_an_embedding_of_zeros_has_no_direction():
    zeros = np.zeros((3, 3, 4), np.float32)
    assert float(CosineTripletLoss(0.4)(None, zeros)) == pytest.approx(0.4)


def test_the_loss_reduces_and_computes_as_keras_losses_do():
    three = np.random.default_rng(0).standard_normal((5, 3, 4)).astype(np.float32)
    each = CosineTripletLoss(0.4, reduction=None)(None, three)
    assert each.shape == (5,)
    total = CosineTripletLoss(0.4, reduction="sum")(None, three)
    assert float(total) == pytest.approx(float(np.sum(each)), abs=1e-6)
    weights = np.array([0, 1, 0, 0, 2], np.float32)
    weighted = CosineTripletLoss(0.4, reduction="sum")(None, three, weights)
    assert float(weighted) == pytest.approx(float(np.sum(weights * each)), abs=1e-6)
    loss = CosineTripletLoss(0.3, name="mine", reduction="sum", dtype="float64")
    assert loss(None, three).dtype.name == "float64"
    twin = CosineTripletLoss.from_config(loss.get_config())
    assert twin.get_config() == loss.get_config()
    assert (twin.margin, twin.name, twin.reduction, twin.dtype) == (0.3, "mine", "sum", "float64")


def test_encoder():
    encoder = mlp(784, 512, 256, 128, seed=0)
    assert [layer.units for layer in encoder.layers] == [512, 256, 128]
    names = [layer.activation.__name__ for layer in encoder.layers]
    assert names == ["relu", "relu", "linear"]
    assert encoder.count_params() == 785 * 512 + 513 * 256 + 257 * 128
    assert same_weights(encoder, mlp(784, 512, 256, 128, seed=0))
    assert not same_weights(encoder, mlp(784, 512, 256, 128, seed=1))
    first, second = (layer.get_weights()[0] for layer in mlp(8, 8, 8, seed=0).layers)
    assert not np.array_equal(first, second)


def test_the_seed_is_the_encoders_own():
    state = random.getstate()  # where Keras takes its seeds from if it gets none
    mlp(16, 8, 4, seed=0)
    assert random.getstate() == state


def test_three_heads_share_one_encoder(blobs):
    encoder = mlp(16, 8, 4, seed=0)
    model = TripletModel(encoder)
    assert model.encoder is encoder
    assert [head.name for head in model.inputs] == ["anchor", "positive", "negative"]
    assert model.count_params() == encoder.count_params()
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Lambda)]
    a, p, n = (blobs.images[k : k + 5].reshape(5, -1) for k in (0, 40, 80))
    together = model.predict([a, p, n], verbose=0)
    assert together.shape == (5, 3, 4)
    for k, images in enumerate((a, p, n)):
        np.testing.assert_allclose(together[:, k], encoder(images), atol=1e-6)


class Listener(TripletModel):
    """Keeps every batch that it is trained on or evaluated by."""

    def __init__(self, encoder):
        super().__init__(encoder)
        self.compile(loss=CosineTripletLoss(0.4), run_eagerly=True)
        self.trained_on, self.evaluated_by = [], []

    def train_step(self, data):
        self.trained_on.append(data)
        return super().train_step(data)

    def test_step(self, data):
        self.evaluated_by.append(data)
        return super().test_step(data)


def epochs_of(image_set, n, epochs, **settings):
    """The images of the triplets of each epoch, in order."""
    data = sampling.TripletDataset(image_set, n, **settings)
    for epoch in epochs:
        data.set_epoch(epoch)
        yield image_set.images[data.triplets].reshape(n, 3, 16)


def assert_gathered(heard, size, expected):
    """Batches without labels hold the triplets of all these epochs, in order."""
    heard = [np.stack(three, axis=1) for (three,) in heard]
    expected = [images[i : i + size] for images in expected for i in range(0, len(images), size)]
    assert len(heard) == len(expected)
    assert all(np.array_equal(a, b) for a, b in zip(heard, expected))


@pytest.mark.parametrize("size", [16, 25, 50])  # 4 batches, the last one smaller; 2; and 1
def test_batches_gather_the_triplets_of_every_epoch(blobs, size):
    model = Listener(mlp(16, 8, 4, seed=0))
    batches = TripletBatches(sampling.TripletDataset(blobs, 50, seed=0), size)
    validation = TripletBatches(sampling.TripletDataset(blobs, 30, seed=1, fresh=False), 30)
    model.fit(batches, epochs=3, validation_data=validation, verbose=0)
    model.fit(batches, epochs=2, verbose=0)
    assert_gathered(model.trained_on, size, epochs_of(blobs, 50, range(5), seed=0))
    model.evaluate(validation, verbose=0)
    expected = epochs_of(blobs, 30, range(4), seed=1, fresh=False)
    assert_gathered(model.evaluated_by, 30, expected)


def test_the_first_pass_may_be_an_evaluation(blobs):
    model = Listener(mlp(16, 8, 4, seed=0))
    batches = TripletBatches(sampling.TripletDataset(blobs, 50, seed=0), 16)
    model.evaluate(batches, verbose=0)
    model.evaluate(batches, verbose=0)
    assert_gathered(model.evaluated_by, 16, epochs_of(blobs, 50, range(2), seed=0))


def test_batches_are_shuffled_only_where_it_is_asked_for(blobs):
    model = Listener(mlp(16, 8, 4, seed=0))
    data = sampling.TripletDataset(blobs, 100, seed=0)
    random.seed(0)  # where Keras takes its order from
    model.fit(TripletBatches(data, 1), shuffle=True, verbose=0)
    (expected,) = epochs_of(blobs, 100, [0], seed=0)
    heard = np.concatenate([np.stack(three, axis=1) for (three,) in model.trained_on])
    assert not np.array_equal(heard, expected)
    assert sorted(heard.tolist()) == sorted(expected.tolist())


def test_images_are_not_copied(blobs):
    batches = TripletBatches(sampling.TripletDataset(blobs, 50, seed=0), 16)
    assert np.shares_memory(batches.images, blobs.images)
    assert not np.shares_memory(batches[0][0][0], blobs.images)


def test_keras_takes_one_pass_an_epoch(blobs):
    """Keras and PyTorch see the same triplets in the same order, so that they can be compared."""
    data = sampling.TripletDataset(blobs, 50, seed=0)
    train(compiled(), data, epochs=3)
    assert data.epoch == 2


def test_training_equal_to_the_one_in_pytorch(blobs):
    from snnlib.encoders import mlp as torch_mlp
    from snnlib.training import fit

    ours, theirs = compiled(), torch_mlp(16, 8, 4, seed=0)
    kernels = iter(ours.encoder.get_weights())
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(next(kernels).T))
    history = train(ours, sampling.TripletDataset(blobs, 50, seed=0), epochs=3)
    expected = fit(
        theirs,
        sampling.TripletDataset(blobs, 50, seed=0),
        losses.cosine_triplet,
        epochs=3,
        batch_size=16,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01, eps=1e-7),
        progress=False,
    )
    assert history.history["loss"] == pytest.approx(expected.loss, abs=1e-5)


def test_same_seeds_same_training(blobs):
    first, second = compiled(), compiled()
    for model in (first, second):
        train(model, sampling.TripletDataset(blobs, 50, seed=0))
    assert same_weights(first, second)
    assert not same_weights(first, compiled())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_saved_and_loaded_it_is_the_same(blobs, tmp_path):
    model = compiled()
    data = sampling.TripletDataset(blobs, 50, seed=0)
    train(model, data)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    images = [blobs.images[:40].reshape(40, -1)] * 3
    assert np.array_equal(loaded.predict(images, verbose=0), model.predict(images, verbose=0))
    assert loaded.loss.get_config() == model.loss.get_config()
    Z = embed(loaded.encoder, blobs.images)
    assert np.array_equal(Z, embed(model.encoder, blobs.images))
    train(model, data)
    train(loaded, data)  # the optimizer's state came along, too
    assert same_weights(model, loaded)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_an_encoder_may_have_any_name(blobs, tmp_path):
    layers = [keras.Input((16,)), keras.layers.BatchNormalization(), keras.layers.Dense(4)]
    model = TripletModel(keras.Sequential(layers, name="tower"), name="mine", trainable=False)
    model.compile("adam", CosineTripletLoss(0.4, reduction="sum"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (loaded.name, loaded.trainable, loaded.encoder.name) == ("mine", False, "tower")
    assert loaded.loss.reduction == "sum"
    assert same_weights(loaded.encoder, model.encoder)
    loaded.trainable = True
    loaded.compile("adam", CosineTripletLoss(0.4))
    data = sampling.TripletDataset(blobs, 50, seed=0)
    train(loaded, data, callbacks=[Watch(data)])
    assert not same_weights(loaded.encoder, model.encoder)
    assert embed(loaded.encoder, blobs.images).shape == (120, 4)


def test_the_best_weights_are_kept(blobs):
    """Keras' own early stopping works on these batches."""
    model, kept = compiled(rate=0.5), []
    losses_seen = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.append((logs["val_loss"], model.get_weights()))
    )
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    train(
        model,
        sampling.TripletDataset(blobs, 50, seed=0),
        epochs=30,
        validation_data=TripletBatches(sampling.TripletDataset(blobs, 30, seed=1), 30),
        callbacks=[losses_seen, stopping],
    )
    best = int(np.argmin([loss for loss, _ in kept]))
    assert len(kept) == best + 3
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), kept[best][1]))


def test_embedding_in_batches_equals_embedding_at_once(blobs):
    encoder = mlp(16, 8, 4, seed=0)
    Z = embed(encoder, blobs.images, batch_size=7)
    assert Z.dtype == np.float32
    np.testing.assert_allclose(Z, encoder(blobs.images.reshape(120, 16)), atol=1e-6)


@pytest.mark.filterwarnings("ignore:overflow|invalid")
def test_a_loss_that_is_not_finite_ends_the_training(blobs):
    model = compiled()
    data = sampling.TripletDataset(blobs, 50, seed=0)
    train(model, data)
    sound = model.get_weights()
    model.optimizer.learning_rate = float("inf")
    stopping = keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)
    words = r"training ended in epoch 1: the loss was nan.*see “Not a number”"
    with pytest.warns(RuntimeWarning, match=words):
        history = train(model, data, epochs=5, callbacks=[Watch(data), stopping])
    assert len(history.history["loss"]) == 1
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), sound))


def test_collapse_is_told_once(blobs):
    model = compiled(rate=1e-12)
    last = model.encoder.layers[-1]
    last.set_weights([np.zeros((8, 4)), np.ones(4)])
    data = sampling.TripletDataset(blobs, 50, seed=0)
    with pytest.warns(RuntimeWarning, match=r"collapsed in epoch 1.*see “Collapse”") as told:
        history = train(model, data, epochs=3, callbacks=[Watch(data)])
    assert len(told) == 1
    assert history.history["loss"] == pytest.approx([0.4] * 3)


def test_an_epoch_without_active_triplets_is_told_once():
    labels = np.repeat([0, 1], 20)
    images = np.zeros((40, 1, 1, 2), np.float32)
    images[labels == 0, ..., 0] = images[labels == 1, ..., 1] = 1
    data = sampling.TripletDataset(ImageSet(images, labels, "ab", "axes"), 30, seed=0)
    encoder = mlp(2, 2, seed=0)
    encoder.layers[0].set_weights([np.eye(2), np.zeros(2)])
    model = TripletModel(encoder)
    model.compile(keras.optimizers.Adam(0.01), CosineTripletLoss(0.4))
    with pytest.warns(
        RuntimeWarning, match=r"nothing was learned in epoch 1.*see “Nothing is active”"
    ) as told:
        train(model, data, epochs=3, callbacks=[Watch(data)])
    assert len(told) == 1


def test_a_healthy_training_warns_of_nothing(blobs):
    data = sampling.TripletDataset(blobs, 200, seed=0)
    train(compiled(), data, epochs=5, callbacks=[Watch(data)])  # warnings are errors here


@pytest.mark.parametrize("margin", [0, -0.4, float("inf"), float("nan")])
def test_bad_margins(margin):
    with pytest.raises(ValueError, match=f"margin must be positive and finite, got {margin}"):
        CosineTripletLoss(margin)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4)])
def test_bad_embeddings(shape):
    with pytest.raises(ValueError, match=r"must be \(n, 3, d\), got shape \(3, "):
        CosineTripletLoss(0.4)(None, np.zeros(shape, np.float32))


@pytest.mark.parametrize("widths", [(784,), (784, 0), (-1, 3)])
def test_bad_widths(widths):
    with pytest.raises(ValueError, match="at least two positive integers"):
        mlp(*widths, seed=0)


def test_bad_images(blobs):
    encoder = mlp(9, 4, seed=0)
    with pytest.raises(ValueError, match="takes 9 values an image, got images of 16"):
        embed(encoder, blobs.images)
    with pytest.raises(ValueError, match="at least one image"):
        embed(encoder, blobs.images[:0])
    model = TripletModel(encoder)
    model.compile("adam", CosineTripletLoss(0.4))
    with pytest.raises(ValueError, match=r"expected shape=\(None, 9\), found shape=\(None, 16\)"):
        train(model, sampling.TripletDataset(blobs, 10, seed=0))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        TripletBatches(sampling.TripletDataset(blobs, 10, seed=0), 0)


def run(code, **environment):
    own = {"KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        cwd="/",
        env=kept | environment,
        check=False,
    )


FIT = """
import numpy as np
from snnlib.images import ImageSet
from snnlib.keras_triplets import (
    CosineTripletLoss, TripletBatches, TripletModel, Watch, embed, mlp
)
from snnlib.sampling import TripletDataset

images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
triplets = TripletDataset(ImageSet(images, np.arange(64) % 4, tuple("abcd"), "x"), 64, seed=0)
encoder = mlp(64, 16, 8, seed=0)
model = TripletModel(encoder)
model.compile("adam", CosineTripletLoss(), steps_per_execution=2)
model.fit(TripletBatches(triplets, 16), epochs=2, verbose=0, callbacks=[Watch(triplets)])
embed(encoder, images)
"""


def test_tensorflow_works_in_silence():
    """A notebook shows what goes to file descriptor 2; it may not depend on the processor."""
    result = run(FIT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_who_asks_for_all_of_tensorflows_words_gets_them():
    result = run("import snnlib.keras_triplets", TF_CPP_MIN_LOG_LEVEL="0")
    assert result.returncode == 0
    assert "oneDNN" in result.stderr


BROKEN = """
import os, sys
class Broken:
    def find_spec(self, name, *_):
        if name == "keras":
            os.write(2, b"a broken library\\n")
            raise ImportError("keras is broken")
sys.meta_path.insert(0, Broken())
import snnlib.keras_triplets
"""
OTHERS = """
import os, sys
class Others:
    def find_spec(self, name, *_):
        if name == "tensorflow":
            os.write(2, b"W0101 00:00:1.5 7 port.cc:1] a greeting\\n")
            os.write(2, b"2030-01-31 10:00:00.5: E external/x.cc:1] a greeting\\n")
            os.write(2, b"Ger\\xc3\\xa4t voll\\n")
            print("not TensorFlow's", file=sys.stderr)
sys.meta_path.insert(0, Others())
import snnlib.keras_triplets
print("after", file=sys.stderr)
"""


def test_what_goes_wrong_at_the_start_is_not_held_back():
    result = run(BROKEN)
    assert result.returncode == 1
    assert "a broken library" in result.stderr
    assert "ImportError: keras is broken" in result.stderr


def test_what_others_say_at_the_start_is_not_held_back():
    result = run(OTHERS)
    assert result.stderr.splitlines() == ["Gerät voll", "not TensorFlow's", "after"]


@pytest.mark.parametrize(("missing", "backend"), [("tensorflow", ""), ("keras", "torch")])
def test_without_keras_or_its_backend_it_says_what_is_missing(missing, backend):
    code = f"import sys; sys.modules['{missing}'] = None; import snnlib.keras_triplets"
    message = run(code, KERAS_BACKEND=backend).stderr
    assert (
        f"ModuleNotFoundError: {missing} is missing, which comes with the extra 'keras'" in message
    )
    assert 'python -m pip install "snnlib[keras]' in message


ON_PYTORCH = """
import os, sys, warnings
import numpy as np
import torch
from snnlib import losses
from snnlib.images import ImageSet
from snnlib.keras_triplets import (
    CosineTripletLoss, TripletBatches, TripletModel, Watch, embed, keras, mlp
)
from snnlib.sampling import TripletDataset

warnings.simplefilter("error", RuntimeWarning)
rng = np.random.default_rng(0)
three = torch.tensor(rng.standard_normal((3, 50, 8)), dtype=torch.float32)
three[:, 0] = 0
ours = CosineTripletLoss(0.3)(None, three.swapaxes(0, 1))
assert torch.allclose(ours, losses.cosine_triplet(*three, margin=0.3), atol=1e-6)


class Listener(TripletModel):
    heard = []

    def train_step(self, data):
        self.heard.append(np.stack([images.numpy() for images in data[0]], axis=1))
        return super().train_step(data)


labels = np.repeat([0, 1], 40)
images = rng.random((80, 1, 8, 8), dtype=np.float32)
images[labels == 1, :, :4] += 0.3
data, same = (TripletDataset(ImageSet(images, labels, "ab", "x"), 100, seed=0) for _ in "12")
batches, watch = TripletBatches(data, 40), Watch(data)
model = Listener(mlp(64, 16, 8, seed=0))
model.compile(keras.optimizers.Adam(0.01), CosineTripletLoss())
validation = TripletBatches(TripletDataset(ImageSet(images, labels, "ab", "x"), 50, seed=1), 50)
history = model.fit(
    batches, epochs=4, validation_data=validation, callbacks=[watch], verbose=0
).history
assert history["loss"][-1] < 0.8 * history["loss"][0], history
assert history["val_loss"][-1] < 0.8 * history["val_loss"][0], history
expected = []
for epoch in range(4):
    same.set_epoch(epoch)
    expected.append(images[same.triplets].reshape(100, 3, 64))
assert np.array_equal(np.concatenate(model.heard), np.concatenate(expected))
Z = embed(model.encoder, images)
assert (Z.shape, Z.dtype) == ((80, 8), np.float32)

model.encoder.layers[-1].set_weights([np.zeros((16, 8)), np.ones(8)])
model.optimizer.learning_rate = 0.0
try:
    model.fit(batches, callbacks=[watch], verbose=0)
except RuntimeWarning as warning:
    assert "Collapse" in str(warning)
    print(keras.config.backend(), "tensorflow" in sys.modules, "TF_CPP_MIN_LOG_LEVEL" in os.environ)
"""


def test_all_works_on_pytorch_alone():
    """There Keras looks at a batch before it trains; yet it begins with the first epoch."""
    result = run(ON_PYTORCH, KERAS_BACKEND="torch")
    assert "Traceback" not in result.stderr
    assert result.stdout == "torch False False\n"
