"""How a photograph becomes an array: read, turned upright, cut, resized; each time the same way."""

import operator
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

__all__ = ["Photograph", "Preparation", "in_16_bits", "looks_like_bits"]

# All plugins are loaded now, for threads that read files at once must not do it side by side.
Image.init()
# Some other formats start programs: an EPS file Ghostscript, whatever the name of the file ends in.
# Cameras' MPO files open as JPEG.
WANTED = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in WANTED if name in Image.OPEN)

WHITE = 2**16 - 1  # of prepared photographs that are deeper than 8 bits
ORIENTATION = 0x0112  # of EXIF
BITS_PER_SAMPLE, PHOTOMETRIC, PLANAR = 258, 262, 284  # of TIFF
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, eq=False)
class Photograph:
    """A prepared photograph.

    Attributes
    ----------
    pixels : ndarray, shape (c, h, w), uint8 or uint16
        They fill the range of their dtype: its largest value is white. c is 3, or 1 for grey.
    size : tuple of int
        Width and height of the upright photograph before it was cut and resized, pixels.
    largest : int or None
        Largest value in a file of 16 bits, or an array of uint16, of which nothing tells whether
        it uses them all, for `looks_like_bits`. Of a colour file it is a lower bound, as Pillow
        hands over the upper 8 bits. None where the depth is known.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    largest: int | None


@dataclass(frozen=True)
class Preparation:
    """What is done to each photograph: first cut, then resized.

    Attributes
    ----------
    size : int, tuple of int or None
        Height and width to resize to, pixels, by a bilinear filter that averages where it shrinks;
        one number for a square. None leaves the size as it is.
    crop : tuple of int or None
        Left, top, right and bottom edge of what is kept, pixels of the upright photograph. Right
        and bottom are the first column and row left out. None keeps all.
    grey : bool
        One channel, in which colours are weighted by Rec. 601; else three, in which grey is
        repeated.
    bits : int or None
        Meaningful bits of files with more than 8: 2**bits - 1 is white. None takes the depth that
        the file tells. Files of 8 bits are not touched by it.

    Raises
    ------
    ValueError
        If a size is not positive, a crop keeps nothing or begins left of the photograph or above
        it, `grey` is neither true nor false, or `bits` is not in 8 … 31.
    """

    size: int | tuple[int, int] | None = None
    crop: tuple[int, int, int, int] | None = None
    grey: bool = False
    bits: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", _checked_size(self.size))
        if self.crop is not None:
            object.__setattr__(self, "crop", _checked_crop(self.crop))
        if not isinstance(self.grey, bool | np.bool_):
            raise ValueError(f"grey must be true or false, got {self.grey!r}")
        if self.bits is not None and _integers([self.bits], 1, "bits")[0] not in range(8, 32):
            raise ValueError(
                f"bits must lie in 8 … 31, got {self.bits}: what has fewer comes in files of 8 "
                "bits, which need none, and Pillow hands over 31 bits at most"
            )

    def prepare(self, photograph: str | Path | np.ndarray) -> Photograph:
        """Prepare one photograph; several threads may do so at once.

        Parameters
        ----------
        photograph : str, Path or ndarray, shape (h, w) or (h, w, 3), uint8 or uint16
            A file: JPEG, PNG, TIFF, BMP, WebP, GIF, PPM, JPEG 2000 or, where Pillow can, AVIF; it
            is told by its content, not by its name. It is turned upright as its EXIF data say, its
            transparency is dropped, and of a camera's MPO file the first picture is taken. Or an
            array as cameras deliver it, colours being red, green, blue.

        Returns
        -------
        Photograph

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file can't be read, holds several pictures, floating-point numbers or integers
            whose depth nothing tells, its EXIF data are damaged, a value needs more than `bits`,
            the array is of another kind, or the crop does not lie in the photograph; names the
            file.
        """
        if isinstance(photograph, np.ndarray):
            return self._prepare_array(photograph)
        file = Path(photograph)
        try:
            # A stream, for a named file Pillow maps into memory: it crashes with it where another
            # program makes the file shorter, and scrambles TIFF files that are to be turned.
            with file.open("rb") as stream:
                picture, largest = self._read(stream)
                return self._finish(picture, largest)
        except (FileNotFoundError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise ValueError(
                f"{file} can't be read as a photograph: it is damaged, or it is none of "
                f"{', '.join(FORMATS)} in a variant that Pillow knows"
            ) from error
        except Exception as error:  # damaged files make Pillow stumble in every way there is
            raise ValueError(f"{file} can't be read as a photograph: {error}") from error

    def _prepare_array(self, values):
        shaped = values.ndim in (2, 3) and values.size and values.shape[2:] in ((), (3,))
        if not shaped or values.dtype not in (np.uint8, np.uint16):
            raise ValueError(
                "a photograph must be an array (h, w) or (h, w, 3) of uint8 or uint16, "
                f"got {values.shape} of {values.dtype}"
            )
        try:
            if values.dtype == np.uint8:
                return self._finish(Image.fromarray(values), None)
            return self._finish(*_stretched(values, WHITE, self.bits))
        except ValueError as error:
            raise ValueError(f"the array can't be taken as a photograph: {error}") from error

    def _read(self, stream):
        """The upright picture, (h, w) uint16 if it is deep and grey, and its largest value."""
        with Image.open(stream, formats=FORMATS) as image:
            _check_kind(image)
            allowed = _largest_allowed(image)  # known from what is gone once pixels are loaded
            image.load()
            upright = _upright(image)
            if upright.mode.startswith("I"):
                return _grey_values(image, upright, allowed, self.bits)
            picture = _converted(upright)
        if allowed > 255 and self.bits is not None and 2**self.bits - 1 != allowed:
            raise ValueError(
                f"its colours have {allowed.bit_length()} bits, of which Pillow hands over 8, too "
                f"few to stretch bits={self.bits}: expected grey, or colours of 8 bits"
            )
        unknown = allowed == WHITE and self.bits is None
        # 255 times, so that neither way of Pillow's to round makes 12 bits look like more.
        return picture, 255 * int(np.max(picture.getextrema())) if unknown else None

    def _finish(self, picture, largest):
        if isinstance(picture, Image.Image):
            size = picture.size
        else:
            size = (picture.shape[1], picture.shape[0])
        if self.crop is not None and (self.crop[2] > size[0] or self.crop[3] > size[1]):
            raise ValueError(
                f"the crop {self.crop} (left, top, right, bottom) must lie in the photograph, "
                f"which has {size[0]} × {size[1]} pixels"
            )
        channels = self._of_8 if isinstance(picture, Image.Image) else self._of_16
        pixels = channels(picture)
        if len(pixels) == 1 and not self.grey:
            pixels = np.repeat(pixels, 3, axis=0)
        return Photograph(pixels, size, largest)

    def _of_8(self, image):
        """Pixels (1 or 3, h, w) of a picture of Pillow's."""
        if self.grey and image.mode != "L":
            image = image.convert("L")
        if self.crop is not None:
            image = image.crop(self.crop)
        pixels = np.array(self._resized(image))  # a copy, which may be written to
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _of_16(self, values):
        """Pixels (1 or 3, h, w) of values (h, w) or (h, w, 3), uint16."""
        if self.crop is not None:
            left, top, right, bottom = self.crop
            values = values[top:bottom, left:right]
        if self.grey and values.ndim == 3:
            # Pillow's weights and its rounding; the sum just fits 32 bits.
            weighted = values.astype(np.uint32) @ np.array([19595, 38470, 7471], dtype=np.uint32)
            values = (weighted + 2**15 >> 16).astype(np.uint16)
        planes = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
        # Pillow resizes 16 bits as floating-point numbers only.
        single = [self._resized(Image.fromarray(plane.astype(np.float32))) for plane in planes]
        return np.rint(np.stack([np.asarray(plane) for plane in single])).astype(np.uint16)

    def _resized(self, image):
        if not isinstance(self.size, tuple):
            return image
        height, width = self.size
        return image.resize((width, height), Image.Resampling.BILINEAR)


def in_16_bits(pixels: np.ndarray) -> np.ndarray:
    """Stretch pixels of 8 bits to 16, so that white is white.

    Parameters
    ----------
    pixels : ndarray, uint8 or uint16
        Of a `Photograph`.

    Returns
    -------
    ndarray, uint16
        Those of 16 bits as they are.
    """
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.uint16) * (WHITE // 255)


def looks_like_bits(largest: Iterable[int]) -> int | None:
    """Tell how many bits a set of 16-bit photographs likely uses.

    Cameras of 10, 12 or 14 bits often store their values as they are in files of 16 bits, where
    they look almost black; some programs put 8 bits there.

    Parameters
    ----------
    largest : iterable of int
        Largest value of each photograph, as ``Photograph.largest`` has it.

    Returns
    -------
    int or None
        The least of 8, 10, 12 and 14 bits that hold all values. None if 16 bits seem to be used,
        or there is no value.
    """
    top = max(largest, default=WHITE)
    return next((bits for bits in (8, 10, 12, 14) if top < 2**bits), None)


def _integers(values, count, name):
    try:
        whole = tuple(operator.index(value) for value in values)
    except TypeError:
        whole = ()
    if len(whole) != count:
        raise ValueError(f"{name} must be {count} whole number{'s' * (count > 1)}, got {values!r}")
    return whole


def _checked_size(size):
    if isinstance(size, int | np.integer):
        size = (size, size)
    size = _integers(size, 2, "size, if it is no single number,")
    if min(size) < 1:
        raise ValueError(f"size must be positive, got height {size[0]} and width {size[1]}")
    return size


def _checked_crop(crop):
    left, top, right, bottom = crop = _integers(crop, 4, "crop")
    if not (0 <= left < right and 0 <= top < bottom):
        raise ValueError(
            "crop must be (left, top, right, bottom) with 0 ≤ left < right and 0 ≤ top < bottom, "
            f"got {crop}"
        )
    return crop


def _check_kind(image):
    """Refuse what is not one picture of whole numbers that Pillow reads rightly."""
    # An MPO file holds previews behind the picture, or the other eye's view.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise ValueError("it holds several pictures, expected one")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, expected whole ones")
    if image.format == "TIFF" and image.tag_v2.get(PLANAR) == 2 and _tiff_bits(image) > 8:
        # Pillow takes their bytes for pixels, without a word.
        raise ValueError("its colours have more than 8 bits and lie apart, which Pillow misreads")


def _tiff_bits(image):
    return image.tag_v2.get(BITS_PER_SAMPLE, (1,))[0]


def _largest_allowed(image):
    """Largest value that the header of a file allows; 255 or less if Pillow hands over 8 bits."""
    if image.format == "TIFF":
        bits = _tiff_bits(image)
        # Whole numbers of mode I have a sign, or Pillow gives them one.
        return 2 ** (bits - 1) - 1 if image.mode == "I" else 2**bits - 1
    if image.format == "JPEG2000":
        return 2 ** _bits_of_jpeg2000(image.fp) - 1
    if image.format in ("PNG", "PPM"):
        settings = image.tile[0][3]
        if isinstance(settings, tuple) and len(settings) == 2:
            return settings[1]  # the white of a PPM file, as its header says
        return WHITE if ";16" in str(settings) else 255
    return 255


def _bits_of_jpeg2000(stream):
    """Bits a colour, which stand 40 bytes behind the marker of the picture's size."""
    stream.seek(0)
    content = stream.read()
    marker = content.index(b"\xff\x4f\xff\x51") + 2
    return (content[marker + 40] & 0x7F) + 1


def _upright(image):
    data = image.info.get("exif")
    if data is not None and not _is_whole_exif(data):
        raise ValueError("its EXIF data are damaged, which tell what side is up")
    # Pillow turns TIFF files by itself when it loads them, and forgets the orientation.
    orientation = image.getexif().get(ORIENTATION, 1)
    if orientation in TURNS:
        return image.transpose(TURNS[orientation])
    if orientation not in (0, 1):  # some programs write 0 for a photograph that is upright
        raise ValueError(f"its EXIF orientation must lie in 1 … 8, got {orientation!r}")
    return image


def _is_whole_exif(data):
    """Whether the first directory, where the orientation stands, is all there."""
    while data.startswith(b"Exif\0\0"):
        data = data[6:]
    if not data:
        return True
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
    except struct.error:
        return False
    return start + 2 + 12 * entries <= len(data)


def _grey_values(image, upright, allowed, bits):
    """Deep grey of a file: values (h, w) uint16 with 65535 for white, and the largest one."""
    if image.format == "TIFF" and image.mode == "I" and bits is None:
        raise ValueError(
            "it holds integers of 32 bits, or with a sign, and nothing tells how many are used: "
            "say so by bits=…"
        )
    values = np.asarray(upright)
    if image.format == "JPEG2000":  # Pillow has shifted them to 16 bits
        values = values >> 16 - allowed.bit_length()
    elif image.format == "PPM":  # Pillow has stretched them to 16 bits
        values = np.rint(values * (allowed / WHITE)).astype(np.int32)
    inverted = image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0
    return _stretched(values, allowed, bits, inverted=inverted)


def _stretched(values, allowed, bits, *, inverted=False):
    """Values as uint16 with 65535 for white; their largest if their depth is a guess."""
    white = allowed if bits is None else 2**bits - 1
    if white > allowed:
        raise ValueError(f"it holds values up to {allowed}, fewer than the {white} of bits={bits}")
    least, largest = int(values.min()), int(values.max())
    if least < 0 or largest > white:
        value = least if least < 0 else largest
        raise ValueError(f"it holds a value of {value}, outside of 0 … {white} of bits={bits}")
    if inverted:
        values = white - values  # Pillow does so with 8 bits only
    wide = np.uint32 if white <= WHITE else np.uint64  # no product is too large for these
    stretched = (values.astype(wide) * WHITE + white // 2) // white
    return stretched.astype(np.uint16), largest if bits is None and allowed == WHITE else None


def _converted(image):
    """A picture of 8 bits a colour: L if it is grey, else RGB."""
    # Of a palette with transparency Pillow warns that one colour can't stand for it.
    image.info.pop("transparency", None)
    if image.mode == "La":  # grey, multiplied by how opaque it is
        image = image.convert("LA")
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return image if image.mode == mode else image.convert(mode)
