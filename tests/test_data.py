"""The data contract: mirror, then Hub, then stand-in, each with its errors.

The Hub is played by a server on this machine, and asked in a process of its own, since its client
reads address and cache folder once.
"""

import contextlib
import io
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hub import Hub, in_a_process, parquet_bytes
from PIL import Image

from snnlib.data import load, loading, standins, stored

HUB_REACHABLE = stored.hub_reachable  # before the tests put their own in its place
NAMES = ("mnist", "fashion_mnist", "digits")


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """No mirror unless a test makes one, no network, and nothing remembered."""
    monkeypatch.delenv("SNNLIB_DATA", raising=False)
    monkeypatch.setattr(stored, "hub_reachable", lambda: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNNLIB_CACHE", str(tmp_path / "arrays"))
    forget()
    yield
    forget()


def forget():
    """What a new process would not know."""
    for function in (loading._load_whole, loading._find):
        function.cache_clear()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    (folder / "mnist").mkdir(parents=True)
    for split, n in [("train", 40), ("test", 20)]:
        file = folder / "mnist" / f"{split}-00000-of-00001.parquet"
        file.write_bytes(parquet_bytes(n, seed=n))
    monkeypatch.setenv("SNNLIB_DATA", str(folder))
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_standins_keep_the_contract(name, split):
    image_set = load(name, split)
    assert image_set.images.dtype == np.float32
    assert image_set.images.shape[1:] == (1, 28, 28)
    assert image_set.images.min() >= 0
    assert image_set.images.max() <= 1
    assert image_set.labels.dtype == np.int64
    assert set(image_set.labels) == set(range(10))
    assert len(image_set.class_names) == 10
    assert image_set.source.endswith("(stand-in)")


def test_standins_share_no_image_between_splits():
    for name in ("digits", "fashion_mnist"):
        train, test = load(name, "train"), load(name, "test")
        seen = {image.tobytes() for image in train.images}
        assert not any(image.tobytes() in seen for image in test.images)


def test_standins_can_be_learned():
    """A nearest-neighbour classifier tells the classes of a stand-in apart, though not by heart."""
    from sklearn.neighbors import KNeighborsClassifier

    for name in ("digits", "fashion_mnist"):
        train, test = load(name, "train"), load(name, "test")
        flat_train, flat_test = (s.images.reshape(len(s), -1) for s in (train, test))
        accuracy = (
            KNeighborsClassifier().fit(flat_train, train.labels).score(flat_test, test.labels)
        )
        assert accuracy > 0.7


def test_the_mirror_comes_first(mirror):
    train = load("mnist", "train")
    assert train.source == "mnist, local mirror"
    table = pa.parquet.read_table(mirror / "mnist" / "train-00000-of-00001.parquet")
    for row in (0, 17, 39):
        png = table["image"][row].as_py()["bytes"]
        expected = np.asarray(Image.open(io.BytesIO(png)), dtype=np.float32) / 255
        np.testing.assert_allclose(train.images[row, 0], expected)
        assert train.labels[row] == table["label"][row].as_py()


def test_one_split_of_a_mirror(mirror):
    labels, read_images = stored.read_parquet(mirror / "mnist", "test", n_classes=10)
    assert labels.tolist() == list(range(10)) * 2
    images = read_images()
    assert images.shape == (20, 1, 28, 28)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(read_images(np.array([17, 3])), images[[17, 3]])


@pytest.fixture
def decoded(monkeypatch):
    """Rows that were decoded, one after another."""
    rows = []
    decode = stored._decode_image

    def watched(row, png):
        rows.append(row)
        return decode(row, png)

    monkeypatch.setattr(stored, "_decode_image", watched)
    return rows


def test_of_a_part_no_more_is_decoded_than_that_part(mirror, decoded):
    part = load("mnist", "train", size=12, seed=4)
    assert len(decoded) == len(set(decoded)) == 12
    whole = load("mnist", "train")
    np.testing.assert_array_equal(part.images, whole.images[decoded[:12]])
    np.testing.assert_array_equal(part.labels, whole.labels[decoded[:12]])


def test_a_whole_set_is_decoded_once_a_machine(mirror, decoded):
    whole = load("mnist", "train")
    assert decoded == list(range(40))
    forget()
    again = load("mnist", "train")
    part = load("mnist", "train", size=12, seed=4)
    assert decoded == list(range(40))
    assert again is not whole
    np.testing.assert_array_equal(again.images, whole.images)
    np.testing.assert_array_equal(again.labels, whole.labels)
    rows = [np.flatnonzero((whole.images == image).all(axis=(1, 2, 3))) for image in part.images]
    assert all(label in whole.labels[row] for row, label in zip(rows, part.labels))

    file = mirror / "mnist" / "train-00000-of-00001.parquet"
    file.write_bytes(parquet_bytes(40, seed=1))  # another file under the same name
    forget()
    assert not np.array_equal(load("mnist", "train").images, whole.images)


def test_a_set_of_the_hub_with_more_than_one_split(monkeypatch):
    splits = {"train": 1, "test": 2}
    monkeypatch.setattr(stored, "_from_cache", lambda name, split: splits)
    with pytest.raises(ValueError, match=r"expected one split in a/b, got \['train', 'test'\]"):
        stored.hub_dataset("a/b")


def test_a_mirror_without_the_set_is_passed_over(mirror):
    assert load("fashion_mnist", "train").source == "drawn garments (stand-in)"


def test_it_is_decoded_once_and_read_only(mirror):
    train = load("mnist", "train")
    assert load("mnist", "train") is train
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0


def test_drawing_a_part():
    part, again, other = (load("digits", "train", size=100, seed=seed) for seed in (0, 0, 1))
    assert len(part) == 100
    assert (np.bincount(part.labels) >= 9).all()
    assert np.array_equal(part.images, again.images)
    assert not np.array_equal(part.images, other.images)
    whole = load("digits", "test")
    nearly = load("digits", "test", size=len(whole) - 1)
    assert len(nearly) == len(whole) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("nsoartc", "train"),
            "name must be one of mnist, fashion_mnist, digits, elpv; got 'nsoartc'",
        ),
        (("mnist", "validation"), "split must be one of train, test; got 'validation'"),
        (("mnist", "train", None, 0, "web"), "source must be one of .*; got 'web'"),
        (("digits", "test", 501), "10 … 500 .* got 501"),
        (("digits", "test", 3), "10 … 500 .* got 3"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments)


def test_a_mirror_that_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SNNLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"SNNLIB_DATA must name a folder, got .*nowhere"):
        load("mnist", "train")


def test_a_mirror_that_lacks_a_file(mirror):
    (mirror / "mnist" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks the file test-00000-of-00001\.parquet"):
        load("mnist", "test")


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def broken(kind, n=5):
    good = parquet_bytes(n, seed=0)
    table = pa.parquet.read_table(io.BytesIO(good))
    images, labels = table["image"].to_pylist(), table["label"].to_pylist()
    if kind == "empty":
        return b""
    if kind == "truncated":
        return good[: len(good) // 2]
    if kind == "a damaged image":
        images[3]["bytes"] = images[3]["bytes"][:60]
    if kind == "no image":
        images[3]["bytes"] = None
    if kind == "another size":
        images[3]["bytes"] = png(Image.new("L", (28, 30)))
    if kind == "colour":
        images[3]["bytes"] = png(Image.new("RGB", (28, 28), (255, 0, 0)))
    if kind == "an unknown label":
        labels[2] = 11
    columns = {"image": images, "label": labels}
    if kind == "no label column":
        del columns["label"]
    if kind == "no row":
        columns = {"image": images[:0], "label": labels[:0]}
    buffer = io.BytesIO()
    schema = pa.schema([table.schema.field(name) for name in columns])
    metadata = table.schema.metadata if "label" in columns else None
    pa.parquet.write_table(pa.table(columns, schema=schema.with_metadata(metadata)), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "is broken"),
        ("truncated", "is broken"),
        ("a damaged image", "the image in row 3 can't be decoded"),
        ("no image", "the image in row 3 can't be decoded"),
        ("another size", r"its images differ in size: \[\(28, 28\), \(30, 28\)\]"),
        ("an unknown label", "label 11 in row 2, expected 0 … 9"),
        ("no label column", r"lacks the columns \['label'\]"),
        ("no row", "it holds no image"),
    ],
)
def test_a_mirror_with_a_broken_file(mirror, kind, message):
    file = mirror / "mnist" / "train-00000-of-00001.parquet"
    file.write_bytes(broken(kind))
    with pytest.raises(ValueError, match=f"{file.name}.*{message}"):
        load("mnist", "train")


def test_a_coloured_image_becomes_grey(mirror):
    file = mirror / "mnist" / "train-00000-of-00001.parquet"
    file.write_bytes(broken("colour", n=40))
    images = load("mnist", "train").images
    assert images.shape == (40, 1, 28, 28)
    np.testing.assert_allclose(images[3], 76 / 255)  # red counts 0.299


def test_insisting_on_a_source(mirror, monkeypatch):
    assert load("mnist", "train", source="standin").source.endswith("(stand-in)")
    assert load("mnist", "train").source == "mnist, local mirror"
    with pytest.raises(FileNotFoundError, match="no fashion_mnist in the mirror"):
        load("fashion_mnist", "train", source="mirror")
    with pytest.raises(FileNotFoundError, match="no digits in the hub"):
        load("digits", "train", source="hub")
    with pytest.raises(ConnectionError, match="ylecun/mnist is not in its cache"):
        load("mnist", "train", source="hub")
    monkeypatch.delenv("SNNLIB_DATA")
    with pytest.raises(FileNotFoundError, match="names no mirror"):
        load("mnist", "train", source="mirror")


@pytest.mark.parametrize("error", [ValueError, ConnectionError])
def test_a_hub_that_does_not_deliver_is_told(monkeypatch, error):
    def fail(*arguments):
        raise error("broken off")

    monkeypatch.setattr(stored, "read_hub", fail)
    monkeypatch.setattr(stored, "hub_reachable", lambda: True)
    with pytest.warns(RuntimeWarning, match=r"did not deliver ylecun/mnist \(broken off\)"):
        assert load("mnist", "train").source.endswith("(stand-in)")
    with pytest.raises(error, match="broken off"):
        load("mnist", "test", source="hub")


LOAD = """
import json, warnings
from snnlib.data import load
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    image_set = load("mnist", "test")
told = [str(w.message) for w in told if w.category is RuntimeWarning]
print(json.dumps([image_set.source, len(image_set), float(image_set.images.sum()), told]))
"""


def test_the_hub_and_then_its_cache(tmp_path):
    with Hub() as hub:
        online = in_a_process(LOAD, hub.address, tmp_path)
        assert online[:2] == ["mnist, Hugging Face Hub (ylecun/mnist)", 20]
        assert online[3] == []
    offline = in_a_process(LOAD, hub.address, tmp_path)  # the server is gone
    assert offline[:3] == online[:3]


class SilentHub(Hub):
    """Takes calls and never answers."""

    calls = ()

    def answer(self, handler, body):
        self.calls += (handler.command,)
        with contextlib.suppress(OSError):
            handler.rfile.read()  # until the caller hangs up


def test_a_silent_hub_is_waited_for_no_longer_than_five_seconds(tmp_path):
    """The probe alone calls, once and for 5 s; the client would call again and again for 23 s."""
    assert stored.PROBE_SECONDS == 5
    with SilentHub() as hub:
        source, *_ = in_a_process(LOAD, hub.address, tmp_path)
    assert source.endswith("(stand-in)")
    assert hub.calls == ("HEAD",)


def test_the_probe_does_not_wait_for_a_name_that_is_never_found(monkeypatch):
    """Looking up a name has no limit of its own; the probe must not wait for its end."""
    started, released, over = threading.Event(), threading.Event(), threading.Event()

    def lookup(*arguments, **settings):
        started.set()
        released.wait(60)
        over.set()
        raise OSError("no such name")

    monkeypatch.setattr("urllib.request.urlopen", lookup)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(stored, "PROBE_SECONDS", 0.2)
    assert not HUB_REACHABLE.__wrapped__()
    assert started.wait(30)
    assert not over.is_set()
    released.set()


def test_an_interrupted_download_leaves_nothing_that_looks_whole(tmp_path):
    with Hub() as hub:
        hub.cut_off = True
        source, _, _, told = in_a_process(LOAD, hub.address, tmp_path)
        assert source.endswith("(stand-in)")
        assert "did not deliver ylecun/mnist" in told[0]
        hub.cut_off = False
        assert in_a_process(LOAD, hub.address, tmp_path)[1] == 20


def test_a_set_that_neither_hub_nor_cache_has():
    with pytest.raises(ConnectionError, match="ylecun/mnist is not in its cache"):
        stored.read_hub("ylecun/mnist", "train", 10)


@pytest.mark.parametrize("make", [standins.digits, standins.garments])
def test_a_standin_says_what_it_is(make):
    images, labels, words = make("test")
    assert images.shape == (len(labels), 1, 28, 28)
    assert set(labels) == set(range(10))
    assert words.endswith("(stand-in)")


def test_without_the_extra_the_hub_is_not_passed_over(monkeypatch):
    """A stand-in in the place of a set that could be had would be a wrong answer."""
    monkeypatch.setattr(stored, "hub_reachable", lambda: True)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"datasets is missing.* extra 'data'"):
        load("mnist", "test")
    assert load("mnist", "test", source="standin").source.endswith("(stand-in)")
