"""From files, frames and arrays to what features see in them."""

import numpy as np
import pytest
from PIL import Image

from snnlib.station.arrays import Arrays
from snnlib.station.looking import Look, as_parts, look_at
from snnlib.station.parts import Parts
from snnlib.station.preparation import Preparation


class Means:
    """Features that are easily checked, and say what they were asked."""

    def __init__(self):
        self.sizes = []

    def describe(self, images):
        self.sizes.append(len(images))
        return images.mean(axis=(2, 3)), None

    def seen(self, images):
        return images

    def of_seen(self, images):
        return self.describe(images)[0]


@pytest.fixture
def files(tmp_path):
    for k in range(11):
        Image.fromarray(np.full((12, 10), 20 * k, dtype=np.uint8)).save(tmp_path / f"{k:02}.png")
    return sorted(tmp_path.iterdir())


def looked_at(source, preparation, **settings):
    return list(look_at(source, preparation, Means(), **settings))


def test_photographs_come_in_batches_and_in_their_order(files):
    looks = looked_at(files, Preparation(grey=True))
    assert all(isinstance(look, Look) for look in looks)
    assert np.concatenate([look.positions for look in looks]).tolist() == list(range(11))
    assert max(len(look.images) for look in looks) == 8
    points = np.concatenate([look.points for look in looks])
    np.testing.assert_allclose(points[:, 0], 20 * np.arange(11) / 255, rtol=1e-6)
    assert looks[0].images.dtype == np.float32
    assert {photograph.size for look in looks for photograph in look.photographs} == {(10, 12)}


def test_sixteen_bits_fill_the_same_range_as_eight(tmp_path):
    Image.fromarray(np.full((4, 4), 51, dtype=np.uint8)).save(tmp_path / "8.png")
    Image.fromarray(np.full((4, 4), 819, dtype=np.uint16)).save(tmp_path / "12.png")
    (look,) = looked_at(tmp_path, Preparation(grey=True, bits=12))
    np.testing.assert_allclose(look.points[:, 0], 0.2, atol=1e-4)


def test_frames_are_judged_as_files_are(files):
    frames = np.stack([np.asarray(Image.open(file)) for file in files])
    of_files = looked_at(files, Preparation(size=6))
    of_frames = looked_at(frames, Preparation(size=6))
    for mine, theirs in zip(of_files, of_frames, strict=True):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.positions, theirs.positions)


def test_a_fault_is_told_and_the_others_are_seen(files):
    files[3].write_bytes(b"no picture")
    Image.fromarray(np.zeros((5, 10), dtype=np.uint8)).save(files[9])
    looks = looked_at(files, Preparation(grey=True))
    faults = looks[0].faults | looks[1].faults
    assert set(faults) == {3, 9}
    assert files[3].name in faults[3]
    assert faults[9] == "it is of 10 × 5 pixels, expected 10 × 12: say a size to bring it to"
    assert looks[0].positions.tolist() == [0, 1, 2, 4, 5, 6, 7]


def test_a_batch_of_faults_only_is_not_described(files):
    for file in files[8:]:
        file.write_bytes(b"")
    *_, last = looked_at(files, Preparation(grey=True))
    assert len(last.faults) == 3
    assert len(last.images) == len(last.points) == len(last.positions) == 0


def test_arrays_come_in_chunks():
    parts = np.random.default_rng(0).random((2500, 1, 2, 3), dtype=np.float32)
    looks = looked_at(parts, Arrays((1, 2, 3), 1.0))
    assert [len(look.images) for look in looks] == [1024, 1024, 452]
    np.testing.assert_array_equal(np.concatenate([look.images for look in looks]), parts)
    assert looks[2].positions[0] == 2048


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        (["a.png"], TypeError, r"judges arrays of the shape \(n, 1, 2, 3\), got list"),
        (np.empty((0, 1, 2, 3), dtype=np.float32), ValueError, "no part"),
        (np.ones((1, 1, 2, 3), dtype=np.uint8), TypeError, "floating-point"),
        (np.full((1, 1, 2, 3), 255.0), ValueError, "up to 255, training parts up to 1.*scale"),
        (np.ones((1, 1, 2, 4)), ValueError, r"shape \(n, 1, 2, 3\), got \(1, 1, 2, 4\)"),
    ],
)
def test_what_is_no_source_of_arrays(source, error, words):
    with pytest.raises(error, match=words):
        looked_at(source, Arrays((1, 2, 3), 1.0))


def test_frames_must_be_frames():
    with pytest.raises(ValueError, match=r"frames must be .* got \(5,\)"):
        looked_at(np.zeros(5, dtype=np.uint8), Preparation())


def test_parts_by_whatever_name(files, tmp_path):
    parts = Parts.of(files)
    assert as_parts(parts) is parts
    assert as_parts(str(tmp_path)).files == as_parts(tmp_path).files == parts.files
    assert as_parts(files[2]).files == (files[2],)
    assert as_parts(iter(files[:2])).files == tuple(files[:2])
