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
    Watch,
    embed,
    keras,
    mlp,
    triplet_batches,
    triplet_model,
)

NO_LABELS = np.zeros(3, np.float32)


def compiled(seed=0, loss=None, rate=0.01):
    model = triplet_model(mlp(16, 8, 4, seed=seed))
    model.compile(keras.optimizers.Adam(rate), loss or CosineTripletLoss(0.4))
    return model


def train(model, data, epochs=2, **settings):
    return model.fit(triplet_batches(data, 16), epochs=epochs, shuffle=False, verbose=0, **settings)


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
    value = float(CosineTripletLoss(margin)(np.zeros(n), three.transpose(1, 0, 2)))
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
    assert float(CosineTripletLoss(0.4)(NO_LABELS, zeros)) == pytest.approx(0.4)


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
    model = triplet_model(encoder)
    assert [head.name for head in model.inputs] == ["anchor", "positive", "negative"]
    assert model.count_params() == encoder.count_params()
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Lambda)]
    a, p, n = (blobs.images[k : k + 5].reshape(5, -1) for k in (0, 40, 80))
    together = model.predict([a, p, n], verbose=0)
    assert together.shape == (5, 3, 4)
    for k, images in enumerate((a, p, n)):
        np.testing.assert_allclose(together[:, k], encoder(images), atol=1e-6)


def test_batches_gather_the_triplets_of_every_epoch(blobs):
    data, same = (sampling.TripletDataset(blobs, 50, seed=0) for _ in "12")
    batches = triplet_batches(data, 16)
    assert len(batches) == 4
    for epoch in range(3):
        same.set_epoch(epoch)
        parts = [(np.stack(three, axis=1), labels) for three, labels in batches]
        assert [len(labels) for _, labels in parts] == [16, 16, 16, 2]
        expected = blobs.images[same.triplets].reshape(50, 3, 16)
        assert np.array_equal(np.concatenate([three for three, _ in parts]), expected)


def test_keras_takes_one_pass_an_epoch(blobs):
    """Keras and PyTorch see the same triplets in the same order, so that they can be compared."""
    data = sampling.TripletDataset(blobs, 50, seed=0)
    train(compiled(), data, epochs=3)
    assert data.epoch == 2


def test_training_equal_to_the_one_in_pytorch(blobs):
    from snnlib.encoders import mlp as torch_mlp
    from snnlib.training import fit

    ours, theirs = compiled(), torch_mlp(16, 8, 4, seed=0)
    kernels = iter(ours.get_layer("encoder").get_weights())
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
    encoder = loaded.get_layer("encoder")
    assert np.array_equal(
        embed(encoder, blobs.images), embed(model.get_layer("encoder"), blobs.images)
    )
    train(model, data)
    train(loaded, data)  # the optimizer's state came along, too
    assert same_weights(model, loaded)


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
        validation_data=triplet_batches(sampling.TripletDataset(blobs, 30, seed=1), 30),
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
    last = model.get_layer("encoder").layers[-1]
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
    model = triplet_model(encoder)
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
        CosineTripletLoss(0.4)(NO_LABELS, np.zeros(shape, np.float32))


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
    model = triplet_model(encoder)
    model.compile("adam", CosineTripletLoss(0.4))
    with pytest.raises(ValueError, match=r"expected shape=\(None, 9\), found shape=\(None, 16\)"):
        train(model, sampling.TripletDataset(blobs, 10, seed=0))
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        triplet_batches(sampling.TripletDataset(blobs, 10, seed=0), 0)


def run(code, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
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
    CosineTripletLoss, Watch, embed, mlp, triplet_batches, triplet_model
)
from snnlib.sampling import TripletDataset

images = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
triplets = TripletDataset(ImageSet(images, np.arange(64) % 4, tuple("abcd"), "x"), 64, seed=0)
encoder = mlp(64, 16, 8, seed=0)
model = triplet_model(encoder)
model.compile("adam", CosineTripletLoss(), steps_per_execution=2)
batches = triplet_batches(triplets, 16)
model.fit(batches, epochs=2, verbose=0, shuffle=False, callbacks=[Watch(triplets)])
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


def test_without_tensorflow_it_says_what_is_missing():
    code = "import sys; sys.modules['tensorflow'] = None; import snnlib.keras_triplets"
    message = run(code).stderr.splitlines()[-1]
    assert message.startswith("ModuleNotFoundError: snnlib.keras_triplets needs TensorFlow")
    assert "pip install tensorflow" in message
