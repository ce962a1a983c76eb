"""From files or arrays to what features see in them, a batch at a time."""

import numpy as np
import pytest
from drawn_parts import frames, write

from snnlib.station.arrays import Arrays
from snnlib.station.looking import (
    Batch,
    Look,
    look_at,
    look_at_prepared,
    misfit,
    prepared_batches,
    sound,
)
from snnlib.station.parts import Parts, as_parts
from snnlib.station.preparation import Preparation


class Means:
    """Features that are easily told: the mean of an image, and each of its pixels."""

    def __init__(self):
        self.batches = []

    def describe(self, images):
        self.batches.append(len(images))
        return images.mean(axis=(2, 3)), images

    def seen(self, images):
        return images

    def of_seen(self, images):
        return self.describe(images)[0]


@pytest.fixture
def files(tmp_path):
    return write(tmp_path, frames(19, 0, size=(30, 40)))


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_prepared_is_looked_at_as_it_is(files, bits):
    prepared = np.stack([Preparation(8).prepare(file).pixels for file in files[:5]])
    prepared = prepared if bits == 8 else prepared.astype(np.uint16) * 257
    look = look_at_prepared(prepared, Means())
    (expected, *_) = look_at(Parts.of(files[:5]), Preparation(8), Means())
    np.testing.assert_allclose(look.images, expected.images, atol=1e-6)
    np.testing.assert_allclose(look.points, expected.points, atol=1e-6)
    assert look.positions.tolist() == [0, 1, 2, 3, 4]
    maps = np.full((2, 1, 4, 4), 3.5, dtype=np.float32)
    assert look_at_prepared(maps, Means()).images.max() == 3.5


def test_photographs_come_a_batch_at_a_time(files):
    features = Means()
    looks = look_at(Parts.of(files), Preparation(8), features)
    first = next(looks)
    assert features.batches == [8]  # the others have not been looked at yet
    looks = [first, *looks]
    assert features.batches == [8, 8, 3]
    assert np.concatenate([look.positions for look in looks]).tolist() == list(range(19))
    for look in looks:
        assert isinstance(look, Look)
        assert look.faults == {}
        assert look.images.shape == look.patches.shape == (len(look.positions), 3, 8, 8)
        assert look.images.dtype == np.float32
        assert look.seconds >= 0
        for position, photograph, image, point in zip(
            look.positions, look.photographs, look.images, look.points
        ):
            expected = Preparation(8).prepare(files[position])
            assert photograph.size == (40, 30)
            np.testing.assert_array_equal(photograph.pixels, expected.pixels)
            np.testing.assert_allclose(image, expected.pixels / 255, atol=1e-6)
            np.testing.assert_allclose(point, image.mean(axis=(1, 2)), rtol=1e-6)


def test_photographs_of_16_bits_are_in_the_same_range(files):
    shallow = np.stack([np.full((6, 5), value, dtype=np.uint8) for value in (0, 51, 255)])
    deep = shallow.astype(np.uint16) * 257
    for few, many in zip(*(look_at(f, Preparation(), Means()) for f in (shallow, deep))):
        np.testing.assert_allclose(few.images[:, 0, 0, 0], [0, 0.2, 1], atol=1e-6)
        np.testing.assert_allclose(few.images, many.images, atol=1e-6)


def test_faults_stand_at_their_places(files):
    files[2].write_bytes(b"no photograph")
    write(files[0].parent, frames(1, 1, size=(30, 50)), first=11)
    looks = list(look_at(Parts.of(files), Preparation(), Means()))
    faults = {k: words for look in looks for k, words in look.faults.items()}
    assert faults.keys() == {2, 11}
    assert "002.png can't be read" in faults[2]
    assert faults[11] == "it is of 50 × 30 pixels, expected 40 × 30: say a size to bring it to"
    seen = np.concatenate([look.positions for look in looks])
    assert seen.tolist() == [k for k in range(19) if k not in (2, 11)]
    given = look_at(Parts.of(files), Preparation(), Means(), shape=(3, 30, 50))
    assert sum(len(look.positions) for look in given) == 1


def test_a_batch_in_which_nothing_can_be_seen(files):
    for file in files[:8]:
        file.write_bytes(b"")
    features = Means()
    nothing, *others = look_at(Parts.of(files), Preparation(), features, shape=(3, 30, 40))
    assert features.batches == [8, 3]
    assert nothing.faults.keys() == set(range(8))
    assert nothing.images.shape == (0, 3, 30, 40)
    assert len(nothing.positions) == len(nothing.points) == len(nothing.photographs) == 0
    assert [look.positions.tolist() for look in others] == [list(range(8, 16)), [16, 17, 18]]


def test_sound_photographs_are_handed_on_and_others_are_named(files):
    parts = Parts.of(files)
    looks = list(look_at(parts, Preparation(), Means()))
    assert list(sound(looks, parts)) == looks
    files[9].write_bytes(b"no photograph")
    handed_on = sound(look_at(parts, Preparation(), Means()), parts)
    assert len(next(handed_on).positions) == 8
    with pytest.raises(ValueError, match=r"^\S*009\.png can't be read as a photograph"):
        next(handed_on)
    write(files[0].parent, frames(1, 1, size=(30, 50)), first=9)
    with pytest.raises(ValueError, match=r"^\S*009\.png: it is of 50 × 30 pixels, expected 40"):
        list(sound(look_at(parts, Preparation(), Means()), parts))


def test_parts_are_looked_at_as_they_are_read(files):
    files[2].write_bytes(b"no photograph")
    arrays = np.random.default_rng(0).random((1030, 1, 2, 3)).astype(np.float32)
    for source, preparation in [(files, Preparation(8)), (arrays, Arrays((1, 2, 3), 1.0))]:
        read = list(prepared_batches(source, preparation))
        looks = list(look_at(source, preparation, Means()))
        assert len(read) > 1
        assert all(type(batch) is Batch for batch in read)
        for batch, look in zip(read, looks, strict=True):
            np.testing.assert_array_equal(batch.images, look.images)
            np.testing.assert_array_equal(batch.positions, look.positions)
            assert batch.faults == look.faults


def test_misfits_in_words(files):
    photograph = Preparation().prepare(files[0])
    assert misfit(photograph, (3, 30, 40)) == ""
    assert misfit(photograph, (3, 40, 30)).startswith("it is of 40 × 30 pixels, expected 30 × 40")


def test_arrays_come_a_batch_at_a_time(monkeypatch):
    monkeypatch.setattr("snnlib.station.looking.ARRAYS_AT_A_TIME", 4)
    images = np.random.default_rng(0).random((10, 2, 3, 5)).astype(np.float32)
    looks = list(look_at(images, Arrays((2, 3, 5), 1.0), Means()))
    assert [look.positions.tolist() for look in looks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    np.testing.assert_array_equal(np.concatenate([look.images for look in looks]), images)
    assert all(look.photographs == [] and look.faults == {} for look in looks)


def test_whatever_way_photographs_are_named(files):
    folder = files[0].parent
    for source in (folder, str(folder), files, map(str, files), Parts.of(files)):
        assert [str(file) for file in as_parts(source).files] == [str(file) for file in files]
    for one in (files[3], str(files[3])):
        assert as_parts(one).files == (files[3],)
    parts = Parts.of(files)
    assert as_parts(parts) is parts


def test_frames_are_judged_as_files_are(files):
    taken = np.stack([Preparation().prepare(file).pixels.transpose(1, 2, 0) for file in files])
    of_files = look_at(Parts.of(files), Preparation(8), Means())
    of_frames = look_at(taken, Preparation(8), Means())
    for mine, theirs in zip(of_files, of_frames, strict=True):
        np.testing.assert_array_equal(mine.images, theirs.images)
        np.testing.assert_array_equal(mine.positions, theirs.positions)


def test_a_frame_with_a_fault_stands_at_its_place():
    taken = np.full((3, 6, 5), 1000, dtype=np.uint16)
    taken[1, 2, 2] = 5000
    (look,) = look_at(taken, Preparation(bits=12), Means())
    assert look.positions.tolist() == [0, 2]
    assert "5000" in look.faults[1]


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
        list(look_at(source, Arrays((1, 2, 3), 1.0), Means()))


def test_frames_must_be_frames():
    with pytest.raises(ValueError, match=r"frames must be .* got \(5,\)"):
        list(look_at(np.zeros(5, dtype=np.uint8), Preparation(), Means()))
