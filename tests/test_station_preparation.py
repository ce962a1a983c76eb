"""How a photograph becomes an array: what is read, how it is scaled, and what is refused."""

import io
import random
import shutil
import struct
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from snnlib.station.preparation import Photograph, Preparation, in_16_bits, looks_like_bits

GREY = np.random.default_rng(0).integers(0, 256, (6, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 5, 3), dtype=np.uint8)
DEEP = np.random.default_rng(2).integers(0, 2**16, (6, 5), dtype=np.uint16)
DEEP[0, :2] = 0, 2**16 - 1  # both ends are there
TWELVE = (DEEP >> 4).astype(np.uint16)
AS_IS = Preparation()
AS_GREY = Preparation(grey=True)


def saved(folder, name, pixels, **settings):
    """A file of pixels, or of a picture of Pillow's."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(folder / name, **settings)
    return folder / name


def written(folder, name, content):
    (folder / name).write_bytes(content)
    return folder / name


def tiff(pixels, bits, *, photometric=1, signed=False, extra=None, planes=1):
    """A TIFF file, written by hand where Pillow writes none: bytes of its pixels as they are."""
    height, width, *colours = pixels.shape
    samples = colours[0] if colours else 1
    if bits == 12:
        rows = ["".join(f"{v:012b}" for v in row) for row in pixels]
        rows = [row + "0" * (-len(row) % 8) for row in rows]
        data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in rows)
    else:
        data = pixels.astype(f"<{'i' if signed else 'u'}{bits // 8}").tobytes()
    tags = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [photometric],
            273: [0] * planes, 277: [samples], 278: [height], 279: [len(data) // planes] * planes,
            284: [1 if planes == 1 else 2], 339: [2 if signed else 1] * samples}  # fmt: skip
    tags |= {} if extra is None else {338: [extra]}
    behind = 8 + 2 + 12 * len(tags) + 4
    longer = sum(4 * len(values) for values in tags.values() if len(values) > 1)
    starts = behind + longer + len(data) // planes * np.arange(planes)
    tags[273] = starts.tolist()
    entries, values_behind = b"", b""
    for tag, values in sorted(tags.items()):
        # All values are longs, which readers allow; several of them stand behind the directory.
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            place = struct.pack("<I", behind + len(values_behind))
            values_behind += packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + (place if len(values) > 1 else packed)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8) + directory + values_behind + data


def png_of_deep_colours(pixels):
    """A PNG file with 16 bits a colour, which Pillow can't write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg_2000_of_12_bits(pixels):
    """A JPEG 2000 file of 12 bits, which Pillow can't write: one of 16, with another header.

    Values are stored about the middle of their range, so that other middles make other values.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels + np.uint16(2**15 - 2**11)).save(stream, "JPEG2000", irreversible=False)
    content = bytearray(stream.getvalue())
    places = content.index(b"ihdr") + 14, content.index(b"\xff\x4f\xff\x51") + 42
    for place in places:
        assert content[place] == 15
        content[place] = 11
    return bytes(content)


def channels_first(pixels):
    return np.array([pixels] * 3) if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


# Names, formats and colours


@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.TIF", "x.webp", "x.ppm", "x.jp2"])
def test_formats_without_loss(tmp_path, name, pixels):
    settings = {"x.webp": {"lossless": True}, "x.jp2": {"irreversible": False}}
    photograph = AS_IS.prepare(saved(tmp_path, name, pixels, **settings.get(name, {})))
    assert isinstance(photograph, Photograph)
    assert photograph.pixels.dtype == np.uint8
    np.testing.assert_array_equal(photograph.pixels, channels_first(pixels))
    assert photograph.size == (5, 6)
    assert photograph.largest is None
    photograph.pixels[:] = 0  # a copy, of which one may make what one wants


@pytest.mark.parametrize("name", ["x.jpg", "x.avif"])
def test_formats_with_loss(tmp_path, name):
    if name == "x.avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    smooth = np.linspace(40, 200, 30, dtype=np.uint8).reshape(6, 5)
    pixels = AS_IS.prepare(saved(tmp_path, name, smooth, quality=95)).pixels
    np.testing.assert_allclose(pixels, channels_first(smooth).astype(int), atol=12)


@pytest.mark.parametrize("name", ["photo.PNG", "photo", "photo.raw", "photo.jpg", "良品 № 1.png"])
def test_content_counts_whatever_the_name(tmp_path, name):
    file = saved(tmp_path, name, COLOUR, format="PNG")
    for path in (file, str(file)):
        np.testing.assert_array_equal(AS_IS.prepare(path).pixels, channels_first(COLOUR))


def test_grey_is_weighted_by_rec_601(tmp_path):
    pixels = AS_GREY.prepare(saved(tmp_path, "x.png", COLOUR)).pixels
    assert pixels.shape == (1, 6, 5)
    np.testing.assert_allclose(pixels[0], COLOUR @ [0.299, 0.587, 0.114], atol=0.51)
    assert AS_GREY.prepare(saved(tmp_path, "x.png", GREY)).pixels.tolist() == [GREY.tolist()]


@pytest.mark.parametrize("grey", [False, True])
def test_transparency_is_dropped(tmp_path, grey):
    preparation = Preparation(grey=grey)
    for see_through, without in [
        (np.dstack([COLOUR, GREY]), COLOUR),
        (np.dstack([GREY, GREY // 2]), GREY),
    ]:
        pixels = preparation.prepare(saved(tmp_path, "x.png", see_through)).pixels
        opaque = preparation.prepare(saved(tmp_path, "y.png", without)).pixels
        np.testing.assert_array_equal(pixels, opaque)
    palette = Image.fromarray(COLOUR).quantize(8)
    opaque = saved(tmp_path, "x.png", palette)
    see_through = saved(tmp_path, "y.png", palette, transparency=bytes([0, 128, 255]))
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(AS_IS.prepare(see_through).pixels, channels_first(expected))
    np.testing.assert_array_equal(
        preparation.prepare(see_through).pixels, preparation.prepare(opaque).pixels
    )


def test_values_multiplied_by_opacity_are_divided_by_it(tmp_path):
    multiplied = np.array([[[60, 120], [10, 255]]], dtype=np.uint8)
    pixels = AS_GREY.prepare(written(tmp_path, "x.tif", tiff(multiplied, 8, extra=1))).pixels
    np.testing.assert_allclose(pixels[0], [[60 / 120 * 255, 10]], atol=1)


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_inks(tmp_path, name):
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan, all else: red
    file = saved(tmp_path, name, image)
    assert np.ptp(AS_IS.prepare(file).pixels, axis=(1, 2)).tolist() == [0, 0, 0]
    np.testing.assert_allclose(AS_IS.prepare(file).pixels[:, 0, 0], [255, 0, 0], atol=2)
    np.testing.assert_allclose(AS_GREY.prepare(file).pixels, 0.299 * 255, atol=2)


def test_black_and_white(tmp_path):
    pixels = AS_GREY.prepare(saved(tmp_path, "x.png", GREY > 127)).pixels
    np.testing.assert_array_equal(pixels[0], np.where(GREY > 127, 255, 0))


def test_white_that_is_zero_in_8_bits(tmp_path):
    pixels = AS_GREY.prepare(written(tmp_path, "x.tif", tiff(GREY, 8, photometric=0))).pixels
    np.testing.assert_array_equal(pixels[0], 255 - GREY)


# Upright, cut, resized


TURNED = {
    0: lambda stored: stored,  # some programs write it for a photograph that is upright
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.webp", "deep.png", "deep.tif"])
def test_photographs_are_turned_upright(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = DEEP if name.startswith("deep") else COLOUR
    settings = {"lossless": True} if name == "x.webp" else {}
    with Image.open(saved(tmp_path, name, pixels, **settings)) as image:
        upright = TURNED[orientation](np.asarray(image))
    photograph = AS_IS.prepare(saved(tmp_path, name, pixels, exif=exif, **settings))
    np.testing.assert_array_equal(photograph.pixels, channels_first(upright))
    assert photograph.size == ((5, 6) if orientation < 5 else (6, 5))


def test_a_camera_on_its_side(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = saved(tmp_path, "x.png", np.rot90(GREY), exif=exif)
    np.testing.assert_array_equal(AS_IS.prepare(file).pixels, [GREY] * 3)


def with_exif(data):
    """A JPEG file with given EXIF data."""
    stream = io.BytesIO()
    Image.fromarray(COLOUR).save(stream, "JPEG", exif=b"Exif\0\0" + data)
    return stream.getvalue()


ORIENTED = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)
ELSEWHERE = b"MM\0*" + struct.pack(">I4xHHHIHHI", 12, 1, 0x0112, 3, 1, 6, 0, 0)


@pytest.mark.parametrize(
    "data",
    [b"II", b"XX*\0" + ORIENTED[4:], ORIENTED[:4] + b"\xff" + ORIENTED[5:], ORIENTED[:15],
     ORIENTED[:8] + b"\x02" + ORIENTED[9:], ELSEWHERE[:13] + b"\x02" + ELSEWHERE[14:]],
    ids=["short", "order", "start", "cut", "entries", "entries elsewhere"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # by default, Pillow does no more than warn
def test_damaged_exif_data_are_refused(tmp_path, data):
    file = written(tmp_path, "x.jpg", with_exif(data))
    with pytest.raises(ValueError, match=r"x\.jpg .*its EXIF data are damaged, which tell what"):
        AS_IS.prepare(file)


def test_whole_exif_data_are_none_of_these(tmp_path):
    for data in (ORIENTED, b"Exif\0\0" + ORIENTED, ELSEWHERE):
        assert AS_IS.prepare(written(tmp_path, "x.jpg", with_exif(data))).size == (6, 5)
    assert AS_IS.prepare(written(tmp_path, "x.jpg", with_exif(b""))).size == (5, 6)
    wrong = written(tmp_path, "x.jpg", with_exif(ORIENTED.replace(b"\6", b"\x09")))
    with pytest.raises(ValueError, match=r"x\.jpg .*orientation must lie in 1 … 8, got 9"):
        AS_IS.prepare(wrong)


def test_the_crop_is_of_the_upright_photograph(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    preparation = Preparation(crop=(1, 2, 4, 6))
    for pixels in (GREY, DEEP):
        photograph = preparation.prepare(saved(tmp_path, "x.png", np.rot90(pixels), exif=exif))
        np.testing.assert_array_equal(photograph.pixels, [pixels[2:6, 1:4]] * 3)
        assert photograph.size == (5, 6)


@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "colour", "deep"])
def test_a_crop_outside_of_the_photograph(tmp_path, pixels):
    file = saved(tmp_path, "x.png", pixels)
    Preparation(crop=(0, 0, 5, 6)).prepare(file)  # all of it
    for crop in [(0, 0, 6, 6), (2, 3, 5, 7)]:
        message = rf"x\.png .*crop \({crop[0]}, .* must lie in .* 5 × 6 pixels"
        with pytest.raises(ValueError, match=message):
            Preparation(crop=crop).prepare(file)


def test_first_cut_then_resized():
    preparation = Preparation(size=(3, 2), crop=(0, 1, 4, 6))
    cut = np.ascontiguousarray(COLOUR[1:6, :4])
    expected = Preparation(size=(3, 2)).prepare(cut).pixels
    np.testing.assert_array_equal(preparation.prepare(COLOUR).pixels, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_size_is_height_and_width(dtype):
    flat = np.full((40, 30, 3), 200, dtype=dtype)
    resized = Preparation((7, 9)).prepare(flat)
    assert resized.pixels.shape == (3, 7, 9)
    assert resized.pixels.dtype == dtype
    assert (resized.pixels == 200).all()
    assert resized.size == (30, 40)
    assert Preparation(11, grey=True).prepare(flat).pixels.shape == (1, 11, 11)
    assert Preparation(11) == Preparation((11, 11)) == Preparation(np.int64(11))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_resizing_averages_what_it_shrinks(dtype):
    """A ramp keeps its slope; stripes finer than a pixel become their mean, not one of them."""
    ramp = np.tile(np.arange(0, 240, 3, dtype=dtype), (20, 1))
    pixels = Preparation((5, 20), grey=True).prepare(ramp).pixels[0]
    middles = 3 * ((np.arange(20) + 0.5) * 4 - 0.5)
    np.testing.assert_allclose(pixels[:, 1:-1], np.tile(middles, (5, 1))[:, 1:-1], atol=0.51)
    stripes = np.tile(np.array([0, 200], dtype=dtype), (20, 40))
    pixels = Preparation((5, 20), grey=True).prepare(stripes).pixels[0]
    np.testing.assert_allclose(pixels[:, 1:-1], 100, atol=0.51)


def triangles(long, short):
    """The filter for one direction, as a matrix: a triangle for each pixel, wide if it shrinks."""
    scale = long / short
    middles = (np.arange(short)[:, None] + 0.5) * scale
    away = np.abs(np.arange(long) + 0.5 - middles) / max(scale, 1)
    weights = np.maximum(0, 1 - away)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(7, 9), (40, 20), (48, 32), 64])
def test_resizing_is_bilinear(size):
    scene = np.random.default_rng(3).integers(0, 256, (32, 48), dtype=np.uint8)
    height, width = (size, size) if isinstance(size, int) else size
    expected = triangles(32, height) @ scene @ triangles(48, width).T
    shallow = Preparation(size, grey=True).prepare(scene).pixels[0]
    np.testing.assert_allclose(shallow, expected, atol=1.01)  # rounded in each direction
    deep = Preparation(size, grey=True).prepare(scene * np.uint16(257)).pixels[0]
    np.testing.assert_allclose(deep, expected * 257, atol=0.52)


# More than 8 bits


def test_16_bits_stay_as_they_are(tmp_path):
    for name in ("x.png", "x.tif", "x.jp2"):
        settings = {"irreversible": False} if name == "x.jp2" else {}
        photograph = AS_IS.prepare(saved(tmp_path, name, DEEP, **settings))
        assert photograph.pixels.dtype == np.uint16
        np.testing.assert_array_equal(photograph.pixels, [DEEP] * 3)
        assert photograph.largest == 65535


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_16_bits_of_either_byte_order(tmp_path, order):
    image = Image.fromarray(DEEP.astype(order))
    file = saved(tmp_path, "x.tif", image)
    assert file.read_bytes()[:2] == (b"II" if order == "<u2" else b"MM")
    np.testing.assert_array_equal(AS_GREY.prepare(file).pixels, [DEEP])


def values_of(bits):
    return st.tuples(st.just(bits), st.lists(st.integers(0, 2**bits - 1), max_size=50))


@given(st.integers(9, 16).flatmap(values_of))
def test_stretching_rounds_to_the_nearest(bits_and_values):
    bits, values = bits_and_values
    white = 2**bits - 1
    photograph = Preparation(grey=True, bits=bits).prepare(
        np.array([[*values, 0, white]], dtype=np.uint16)
    )
    nearest = [(2 * value * 65535 + white) // (2 * white) for value in values]  # no value is a tie
    assert photograph.pixels.tolist() == [[[*nearest, 0, 65535]]]
    assert photograph.largest is None


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jp2"])
def test_12_bits_look_like_the_8_bit_picture_of_the_scene(tmp_path, name):
    scene = np.random.default_rng(4).random((40, 50))
    settings = {"irreversible": False} if name == "x.jp2" else {}
    deep = saved(tmp_path, name, np.rint(scene * 4095).astype(np.uint16), **settings)
    shallow = saved(tmp_path, "8.png", np.rint(scene * 255).astype(np.uint8))
    for size in (None, 16):
        preparation = Preparation(size, bits=12)
        of_deep, of_shallow = preparation.prepare(deep), preparation.prepare(shallow)
        np.testing.assert_allclose(of_deep.pixels / 257, of_shallow.pixels, atol=1.01)
    assert (of_deep.pixels.dtype, of_shallow.pixels.dtype) == (np.uint16, np.uint8)
    assert Preparation(bits=12).prepare(deep).pixels.max() > 65000
    assert AS_IS.prepare(deep).pixels.max() <= 4095
    assert AS_IS.prepare(deep).largest == np.rint(scene.max() * 4095)


def test_a_value_that_needs_more_bits(tmp_path):
    file = saved(tmp_path, "x.png", np.array([[0, 4096]], dtype=np.uint16))
    with pytest.raises(
        ValueError, match=r"x\.png .* value of 4096, outside of 0 … 4095 of bits=12"
    ):
        Preparation(bits=12).prepare(file)
    assert Preparation(bits=13).prepare(file).pixels.max() == round(4096 / 8191 * 65535)
    with pytest.raises(ValueError, match=r"x\.png .*values up to 65535, fewer than .*bits=17"):
        Preparation(bits=17).prepare(file)


def test_a_tiff_of_12_bits_tells_its_depth(tmp_path):
    file = written(tmp_path, "x.tif", tiff(TWELVE, 12))
    photograph = AS_GREY.prepare(file)
    np.testing.assert_array_equal(photograph.pixels[0], np.rint(TWELVE * (65535 / 4095)))
    assert photograph.largest is None
    small = written(tmp_path, "x.tif", tiff(TWELVE // 4, 12))
    np.testing.assert_array_equal(
        Preparation(grey=True, bits=10).prepare(small).pixels[0],
        np.rint(TWELVE // 4 * (65535 / 1023)),
    )
    with pytest.raises(ValueError, match=r"values up to 4095, fewer than the 16383 of bits=14"):
        Preparation(bits=14).prepare(file)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_white_that_is_zero_in_16_bits(tmp_path, compression):
    inverted = {"tiffinfo": {262: 0}, "compression": compression}
    file = saved(tmp_path, "x.tif", DEEP, **inverted)
    photograph = AS_GREY.prepare(file)
    np.testing.assert_array_equal(photograph.pixels, [65535 - DEEP])
    assert photograph.largest == 65535
    file = saved(tmp_path, "x.tif", TWELVE, **inverted)
    pixels = Preparation(grey=True, bits=12).prepare(file).pixels[0]
    np.testing.assert_array_equal(pixels, np.rint((4095 - TWELVE) * (65535 / 4095)))
    with pytest.raises(ValueError, match="value of 4095, outside of 0 … 1023 of bits=10"):
        Preparation(bits=10).prepare(file)


@pytest.mark.parametrize("bits", [20, 31])
def test_integers_of_32_bits_need_their_depth(tmp_path, bits):
    white = 2**bits - 1
    values = np.random.default_rng(5).integers(0, white, (4, 5))
    values[0, :2] = 0, white
    file = saved(tmp_path, "x.tif", values.astype(np.int32))
    with pytest.raises(ValueError, match=r"x\.tif .*nothing tells how many .* say so by bits=…"):
        AS_IS.prepare(file)
    photograph = Preparation(grey=True, bits=bits).prepare(file)
    nearest = [[(2 * v * 65535 + white) // (2 * white) for v in row] for row in values.tolist()]
    assert photograph.pixels.tolist() == [nearest]
    assert photograph.largest is None
    with pytest.raises(ValueError, match=rf"value of {white}, outside of 0 … 65535 of bits=16"):
        Preparation(bits=16).prepare(file)


def test_integers_with_a_sign(tmp_path):
    values = np.array([[0, 4095, 7]])
    file = written(tmp_path, "x.tif", tiff(values, 16, signed=True))
    with pytest.raises(ValueError, match=r"or with a sign, .* say so by bits=…"):
        AS_IS.prepare(file)
    assert Preparation(bits=12).prepare(file).pixels[0].tolist() == [[0, 65535, 112]]
    with pytest.raises(ValueError, match="values up to 32767, fewer than the 65535 of bits=16"):
        Preparation(bits=16).prepare(file)
    for bits in (16, 32):
        file = written(tmp_path, "x.tif", tiff(values - 5, bits, signed=True))
        with pytest.raises(ValueError, match=r"x\.tif .* value of -5, outside of 0 … 4095"):
            Preparation(bits=12).prepare(file)


def test_floating_point_numbers_are_refused(tmp_path):
    file = saved(tmp_path, "x.tif", GREY.astype(np.float32))
    with pytest.raises(ValueError, match=r"x\.tif .*floating-point numbers, expected whole"):
        AS_IS.prepare(file)


def test_a_pgm_tells_its_white(tmp_path):
    header = b"P5 5 6 %d\n"
    file = written(tmp_path, "x.pgm", header % 4095 + TWELVE.astype(">u2").tobytes())
    photograph = AS_GREY.prepare(file)
    np.testing.assert_array_equal(photograph.pixels[0], np.rint(TWELVE * (65535 / 4095)))
    assert photograph.largest is None
    np.testing.assert_array_equal(
        Preparation(grey=True, bits=12).prepare(file).pixels, photograph.pixels
    )
    few = written(tmp_path, "x.pgm", header % 4095 + (TWELVE // 4).astype(">u2").tobytes())
    np.testing.assert_array_equal(
        Preparation(grey=True, bits=10).prepare(few).pixels[0],
        np.rint(TWELVE // 4 * (65535 / 1023)),
    )
    full = written(tmp_path, "x.pgm", header % 65535 + TWELVE.astype(">u2").tobytes())
    assert AS_GREY.prepare(full).pixels.tolist() == [TWELVE.tolist()]
    assert AS_GREY.prepare(full).largest == 4095


def test_jpeg_2000_tells_its_depth(tmp_path):
    file = written(tmp_path, "x.jp2", jpeg_2000_of_12_bits(TWELVE))
    for bits in (None, 12):
        photograph = Preparation(grey=True, bits=bits).prepare(file)
        np.testing.assert_array_equal(photograph.pixels[0], np.rint(TWELVE * (65535 / 4095)))
        assert photograph.largest is None


def test_deep_colours_keep_their_upper_8_bits(tmp_path):
    colours = np.random.default_rng(6).integers(0, 2**16, (6, 5, 3), dtype=np.uint16)
    for name, content in {
        "x.png": png_of_deep_colours(colours),
        "x.tif": tiff(colours, 16, photometric=2),
    }.items():
        photograph = AS_IS.prepare(written(tmp_path, name, content))
        np.testing.assert_array_equal(photograph.pixels, channels_first(colours >> 8))
        assert photograph.largest == 255 * (colours.max() >> 8)
        Preparation(bits=16).prepare(tmp_path / name)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_colours_of_few_bits_show_and_cant_be_stretched(tmp_path, bits):
    colours = np.full((4, 4, 3), 2**bits - 1, dtype=np.uint16)
    for name, content in {
        "x.png": png_of_deep_colours(colours),
        "x.tif": tiff(colours, 16, photometric=2),
        "x.ppm": b"P6 4 4 65535\n" + colours.astype(">u2").tobytes(),
    }.items():
        file = written(tmp_path, name, content)
        assert looks_like_bits([AS_IS.prepare(file).largest]) == (bits if bits < 16 else None)
        if bits < 16:
            with pytest.raises(ValueError, match=rf"{name} .*16 bits, .* stretch bits={bits}: exp"):
                Preparation(bits=bits).prepare(file)


def test_deep_colours_that_lie_apart_are_refused(tmp_path):
    """Pillow would take every other byte of theirs for a pixel, without a word."""
    planes = np.ascontiguousarray(np.dstack([DEEP] * 3).transpose(2, 0, 1)).reshape(6, 5, 3)
    file = written(tmp_path, "x.tif", tiff(planes, 16, photometric=2, planes=3))
    with pytest.raises(ValueError, match=r"x\.tif .*lie apart, which Pillow misreads"):
        AS_IS.prepare(file)
    planes = COLOUR.transpose(2, 0, 1).reshape(6, 5, 3)
    file = written(tmp_path, "x.tif", tiff(planes, 8, photometric=2, planes=3))
    np.testing.assert_array_equal(AS_IS.prepare(file).pixels, channels_first(COLOUR))


def test_files_of_8_bits_are_not_touched_by_bits(tmp_path):
    file = saved(tmp_path, "x.png", COLOUR)
    np.testing.assert_array_equal(Preparation(bits=12).prepare(file).pixels, channels_first(COLOUR))


@pytest.mark.parametrize(
    ("largest", "bits"),
    [([255, 3], 8), ([256], 10), ([1023, 90], 10), ([1024], 12), ([90, 4095], 12), ([4096], 14),
     ([16383], 14), ([16384], None), ([4095, 65535], None), ([], None)],
)  # fmt: skip
def test_how_many_bits_a_set_seems_to_use(largest, bits):
    assert looks_like_bits(iter(largest)) == bits


# Arrays


@pytest.mark.parametrize("pixels", [GREY, COLOUR, DEEP], ids=["grey", "colour", "deep"])
@pytest.mark.parametrize("preparation", [AS_IS, AS_GREY, Preparation((4, 3), bits=16)])
def test_an_array_and_its_file_are_one(tmp_path, pixels, preparation):
    of_file = preparation.prepare(saved(tmp_path, "x.png", pixels))
    for array in (pixels, np.asfortranarray(pixels), np.repeat(pixels, 2, axis=1)[:, ::2]):
        photograph = preparation.prepare(array)
        np.testing.assert_array_equal(photograph.pixels, of_file.pixels)
        assert photograph.pixels.dtype == of_file.pixels.dtype
        assert (photograph.size, photograph.largest) == (of_file.size, of_file.largest)
        assert not np.shares_memory(photograph.pixels, array)
        photograph.pixels[:] = 0


def test_deep_colours_of_an_array():
    colours = np.random.default_rng(7).integers(0, 4096, (6, 5, 3), dtype=np.uint16)
    stretched = np.rint(colours * (65535 / 4095))
    pixels = Preparation(bits=12).prepare(colours).pixels
    np.testing.assert_array_equal(pixels, channels_first(stretched))
    grey = Preparation(bits=12, grey=True).prepare(colours).pixels
    weighted = stretched @ [19595, 38470, 7471] / 65536  # Pillow's weights: 0.299, 0.587, 0.114
    np.testing.assert_allclose(grey[0], weighted, atol=0.5)
    white = np.full((2, 2, 3), 65535, dtype=np.uint16)
    assert AS_GREY.prepare(white).pixels.min() == 65535


@pytest.mark.parametrize(
    "array",
    [GREY.astype(float), GREY.astype(np.int16), GREY > 9, GREY[0], GREY[None], GREY[:, :, None],
     np.dstack([COLOUR, GREY]), COLOUR[None], GREY[:0]],
    ids=["float", "signed", "bool", "row", "stack", "one", "four", "batch", "empty"],
)  # fmt: skip
def test_other_arrays_are_refused(array):
    with pytest.raises(ValueError, match=r"array \(h, w\) or \(h, w, 3\) of uint8 or uint16, got"):
        AS_IS.prepare(array)


def test_an_array_that_does_not_fit():
    with pytest.raises(ValueError, match=r"the array .*value of 65535, outside of 0 … 4095"):
        Preparation(bits=12).prepare(DEEP)
    with pytest.raises(ValueError, match=r"the array .*crop \(0, 0, 9, 9\) .* 5 × 6 pixels"):
        Preparation(crop=(0, 0, 9, 9)).prepare(GREY)


# What is refused


def test_a_preparation_that_makes_no_sense():
    for settings, message in [
        ({"size": 0}, "size must be positive, got height 0 and width 0"),
        ({"size": (5, -1)}, "size must be positive, got height 5 and width -1"),
        ({"size": (5, 5, 3)}, r"size, .*, must be 2 whole numbers, got \(5, 5, 3\)"),
        ({"size": 2.5}, "size, .*, must be 2 whole numbers, got 2.5"),
        ({"size": "large"}, "size, .*, must be 2 whole numbers, got 'large'"),
        ({"crop": (3, 0, 3, 5)}, r"left < right .*, got \(3, 0, 3, 5\)"),
        ({"crop": (0, 5, 3, 4)}, r"top < bottom, got \(0, 5, 3, 4\)"),
        ({"crop": (-1, 0, 3, 5)}, r"0 ≤ left .*, got \(-1, 0, 3, 5\)"),
        ({"crop": (0, 0, 3)}, r"crop must be 4 whole numbers, got \(0, 0, 3\)"),
        ({"crop": (0, 0, 3, 4.5)}, "crop must be 4 whole numbers, got .*4.5"),
        ({"grey": "no"}, "grey must be true or false, got 'no'"),
        ({"bits": 7}, "bits must lie in 8 … 31, got 7: what has fewer comes in files of 8"),
        ({"bits": 32}, "bits must lie in 8 … 31, got 32: .* 31 bits at most"),
        ({"bits": 12.5}, r"bits must be 1 whole number, got \[12.5\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            Preparation(**settings)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        AS_IS.prepare(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match=f"{tmp_path.name} can't be read as a photograph"):
        AS_IS.prepare(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF"])
def test_several_pictures_in_a_file(tmp_path, kind):
    pictures = [Image.fromarray(np.roll(COLOUR, k)) for k in range(3)]
    several = {"save_all": True, "append_images": pictures[1:]}
    file = saved(tmp_path, "film", pictures[0], format=kind, **several)
    with pytest.raises(ValueError, match=r"film .*it holds several pictures, expected one"):
        AS_IS.prepare(file)
    AS_IS.prepare(saved(tmp_path, "photo", pictures[0], format=kind))


def test_the_first_picture_of_a_camera(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    shades = [Image.new("L", (16, 8), shade) for shade in (200, 10, 30)]
    several = {"save_all": True, "append_images": shades[1:], "exif": exif}
    file = saved(tmp_path, "x.jpg", shades[0], format="MPO", **several)
    with Image.open(file) as image:
        assert (image.format, image.n_frames) == ("MPO", 3)
    photograph = AS_IS.prepare(file)
    assert photograph.size == (8, 16)
    np.testing.assert_allclose(photograph.pixels, 200, atol=1)


def test_no_other_program_is_started(tmp_path, monkeypatch):
    """Pillow has Ghostscript draw an EPS file, whatever its name says."""
    file = saved(tmp_path, "photo.png", COLOUR, format="EPS")
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **settings: started.append(args))
    monkeypatch.setattr(shutil, "which", lambda name, **settings: f"/usr/bin/{name}")
    with pytest.raises(ValueError, match=r"photo\.png can't be read .* none of JPEG, PNG, TIFF"):
        AS_IS.prepare(file)
    assert not started


def test_too_large_to_be_honest(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ValueError, match=r"x\.png .*exceeds limit of 20 pixels"):
        AS_IS.prepare(saved(tmp_path, "x.png", GREY))


def test_a_lack_of_memory_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def full(self):
        raise MemoryError

    file = saved(tmp_path, "x.png", GREY)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", full)
    with pytest.raises(MemoryError):
        AS_IS.prepare(file)


def refusals(file, contents):
    """How many contents of a file are refused; none may raise anything but a ValueError."""
    told = []
    for content in contents:
        file.write_bytes(content)
        try:
            photograph = Preparation(8, bits=12).prepare(file)
        except ValueError as error:
            told.append(str(error))
        else:
            assert photograph.pixels.shape == (3, 8, 8)
    assert all(str(file) in message for message in told)
    return len(told)


@pytest.fixture(params=["warnings as errors", pytest.param("warnings", marks=[
    pytest.mark.filterwarnings("ignore")])])  # fmt: skip
def small_pictures_only(monkeypatch):
    """A damaged header may ask for gigabytes."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)


DAMAGED = ["x.jpg", "x.png", "deep.png", "x.tif", "deep.tif", "lzw.tif", "x.gif", "x.bmp",
           "x.webp", "x.ppm", "x.jp2", "x.avif"]  # fmt: skip


def picture(folder, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    settings = {"exif": exif} if name in ("x.jpg", "x.png", "x.tif", "x.webp", "x.avif") else {}
    settings |= {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    is_deep = name.startswith(("deep", "lzw"))
    pixels = np.tile(TWELVE, (4, 5)) if is_deep else np.tile(COLOUR, (4, 5, 1))
    return saved(folder, name, pixels, **settings)


@pytest.mark.usefixtures("small_pictures_only")
@pytest.mark.parametrize("name", DAMAGED)
def test_files_cut_short(tmp_path, name):
    if name == "x.avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    file = picture(tmp_path, name)
    whole = file.read_bytes()
    assert refusals(file, [whole]) == 0
    lengths = range(0, len(whole) * 3 // 4, max(1, len(whole) // 40))
    assert refusals(file, [whole[:length] for length in lengths]) == len(lengths)


@pytest.mark.usefixtures("small_pictures_only")
@pytest.mark.parametrize("name", DAMAGED)
def test_files_with_turned_bits(tmp_path, name):
    if name == "x.avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    file = picture(tmp_path, name)
    whole = file.read_bytes()
    draw = random.Random(0)
    damaged = []
    for k in range(120):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            # In the header, in a TIFF file's directory, or anywhere.
            reach = min(len(whole), [40, 250, len(whole)][k % 3])
            content[draw.randrange(reach)] ^= 1 << draw.randrange(8)
        damaged.append(bytes(content))
    assert 0 < refusals(file, damaged) <= len(damaged)


# Threads


def test_threads_read_at_once(tmp_path):
    rng = np.random.default_rng(8)
    files = [
        saved(tmp_path, f"{k}{suffix}", rng.integers(0, 256, (64, 48, 3), dtype=np.uint8))
        for k in range(8)
        for suffix in (".jpg", ".png", ".tif", ".webp")
    ]
    preparation = Preparation((20, 30), crop=(5, 6, 40, 60), grey=True)
    one_by_one = [preparation.prepare(file).pixels for file in files]
    with ThreadPoolExecutor(4) as pool:
        at_once = [photograph.pixels for photograph in pool.map(preparation.prepare, files * 3)]
    for found, expected in zip(at_once, one_by_one * 3, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_16_bits_hold_8_without_loss():
    values = np.arange(256, dtype=np.uint8)
    wide = in_16_bits(values)
    assert wide.dtype == np.uint16
    assert (wide[0], wide[-1]) == (0, 65535)
    ratio = wide.astype(np.float32) / np.float32(65535)
    assert np.array_equal(ratio, values.astype(np.float32) / np.float32(255))
    assert in_16_bits(wide) is wide
