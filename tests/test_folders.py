"""Photographs of one's own: what is read, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from snnlib.station.folders import load_folder

GREY = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def save(folder, name, pixels, **settings):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **settings)


@pytest.fixture
def parts(tmp_path):
    for kind, n in [("scratched", 2), ("OK", 3)]:
        for k in range(n):
            save(tmp_path / "parts" / kind, f"{k}.png", np.roll(GREY, k))
    return tmp_path / "parts"


def test_classes_and_files_by_name(parts):
    (parts / "notes.txt").write_text("taken on Monday", encoding="utf-8")
    (parts / ".cache").mkdir()
    for name in (".hidden", "Thumbs.db"):
        (parts / "OK" / name).write_text("left by the system", encoding="utf-8")
    found = load_folder(parts)
    assert found.class_names == ("OK", "scratched")
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.source == "folder parts"
    assert found.images.shape == (5, 1, 6, 5)
    assert found.images.dtype == np.float32
    for image, k in zip(found.images, (0, 1, 2, 0, 1)):
        np.testing.assert_allclose(image[0], np.roll(GREY, k) / 255, atol=1e-7)
    assert np.array_equal(load_folder(str(parts)).images, found.images)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.webp", "x.gif", "x.ppm", "x.jp2"])
def test_formats(parts, name):
    """Each without loss; the folder is grey beside them."""
    settings = {"x.webp": {"lossless": True}, "x.jp2": {"irreversible": False}}
    save(parts / "OK", name, np.dstack([GREY] * 3), **settings.get(name, {}))
    image = load_folder(parts).images[3]
    np.testing.assert_allclose(image, [GREY / 255] * 3, atol=1e-7)


def test_a_jpeg(parts):
    smooth = np.linspace(40, 200, 30, dtype=np.uint8).reshape(6, 5)
    save(parts / "OK", "x.jpg", smooth, quality=95)
    np.testing.assert_allclose(load_folder(parts).images[3, 0], smooth / 255, atol=0.05)


def test_one_coloured_image_makes_all_coloured(parts):
    save(parts / "scratched", "9.png", COLOUR)
    found = load_folder(parts)
    assert found.images.shape == (6, 3, 6, 5)
    np.testing.assert_allclose(found.images[5], COLOUR.transpose(2, 0, 1) / 255, atol=1e-7)
    np.testing.assert_allclose(found.images[0], [GREY / 255] * 3, atol=1e-7)


def test_16_bits_and_black_and_white(parts):
    deep = np.random.default_rng(2).integers(0, 2**16, (6, 5), dtype=np.uint16)
    deep[0, :2] = 0, 2**16 - 1  # both ends are there
    save(parts / "OK", "8.png", deep)
    save(parts / "OK", "9.png", GREY > 127)
    found = load_folder(parts)
    np.testing.assert_allclose(found.images[3, 0], deep / 65535, atol=1e-6)
    np.testing.assert_array_equal(found.images[4, 0], GREY > 127)


def test_transparency_is_dropped(parts):
    save(parts / "OK", "8.png", np.dstack([COLOUR, GREY]))
    save(parts / "OK", "9.png", np.dstack([GREY, GREY // 2]))
    found = load_folder(parts)
    np.testing.assert_allclose(found.images[3], COLOUR.transpose(2, 0, 1) / 255, atol=1e-7)
    np.testing.assert_allclose(found.images[4, 0], GREY / 255, atol=1e-7)


def test_photographs_are_turned_upright(parts):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    save(parts / "OK", "9.png", np.rot90(GREY), exif=exif)
    np.testing.assert_allclose(load_folder(parts).images[3, 0], GREY / 255, atol=1e-7)


def test_no_folder(parts):
    for path in (parts / "nowhere", parts / "OK" / "0.png"):
        with pytest.raises(NotADirectoryError, match=f"a sub-folder a class, got .*{path.name}"):
            load_folder(path)


def test_fewer_than_two_classes(parts):
    with pytest.raises(ValueError, match=r"OK must hold .* at least two classes, got \[\]"):
        load_folder(parts / "OK")
    (parts / "scratched").rename(parts.parent / "scratched")
    with pytest.raises(ValueError, match=r"at least two classes, got \['OK'\]"):
        load_folder(parts)


def test_an_empty_class(parts):
    (parts / "bent").mkdir()
    (parts / "bent" / ".keep").touch()
    with pytest.raises(ValueError, match=r"class 'bent' is empty: there is no file in .*bent"):
        load_folder(parts)


def test_a_folder_in_a_class(parts):
    (parts / "OK" / "Monday").mkdir()
    with pytest.raises(ValueError, match=r"class 'OK' must hold images only, but holds .*Monday"):
        load_folder(parts)


@pytest.mark.parametrize("kind", ["text", "empty", "truncated"])
def test_a_broken_file(parts, kind):
    file = parts / "scratched" / "1.png"
    whole = file.read_bytes()
    file.write_bytes(
        {"text": b"no image", "empty": b"", "truncated": whole[: len(whole) // 2]}[kind]
    )
    with pytest.raises(ValueError, match=r"scratched.1\.png can't be read as an image"):
        load_folder(parts)


def test_several_pictures_in_a_file(parts):
    frames = [Image.fromarray(np.roll(GREY, k)) for k in range(3)]
    frames[0].save(parts / "OK" / "film.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"film\.tif .*it holds 3 pictures, expected one"):
        load_folder(parts)


def test_pixels_without_a_known_scale(parts):
    save(parts / "OK", "9.tif", GREY.astype(np.float32))
    with pytest.raises(ValueError, match=r"9\.tif .*of the kind 'F', expected 8 or 16 bits"):
        load_folder(parts)
    (parts / "OK" / "9.tif").unlink()
    save(parts / "OK", "9.tif", GREY.astype(np.int32) * 1_000_000)
    with pytest.raises(ValueError, match=r"9\.tif .*pixels lie in .*, expected 16 bits"):
        load_folder(parts)


def test_images_of_two_sizes(parts):
    save(parts / "scratched", "1.png", GREY[:4])
    message = r"one size, got 5 × 6 pixels in .*OK.0\.png and 5 × 4 in .*scratched.1\.png"
    with pytest.raises(ValueError, match=message):
        load_folder(parts)
