"""How image files become pixels: the same way for all images of a set, and for those that come later.

Grey or colour, 8 or 16 bits, DICOM where pydicom is installed. What is decided over a whole set (colour or not, which
number is white) is kept in a Reader, which travels with a saved model: a new image is read as the training images were.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from gsa_utils.arguments import Size, bad_value, check_path, height_and_width

DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp", *DICOM_SUFFIXES)
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


@dataclass(frozen=True)
class Reader:
    """Reads image files as uint8 pixels (1 or 3, height, width), resized (Lanczos), the aspect ratio not kept.

    Attributes:
        size: (height, width) that comes out.
        colour: whether three channels come out.
        white: the number that is white in grey images of more than 8 bits.
    """

    size: tuple[int, int]
    colour: bool = False
    white: int = 255

    @classmethod
    def of(cls, files: Sequence[Path], size: Size) -> "Reader":
        """One that suits all these files: in colour if any pixel of any file is, white as the deepest of them needs it.

        White is the smallest 2^k - 1 that at most a thousandth of an image's pixels exceed. A warning says so where
        files have several pages or frames, of which the first is read.

        Raises:
            ValueError: names the file that cannot be read.
        """
        colour, highest, several = False, 255, []
        for file in files:
            with _opened(file) as image:
                if getattr(image, "n_frames", 1) > 1:
                    several.append(file)
                colour = colour or (image.mode not in GREY_MODES and _in_colour(image))  # reads pixels, until one is
                if image.mode.startswith("I"):
                    highest = max(highest, int(np.quantile(np.asarray(image), 0.999)))
        if several:
            came = f"{len(several)} files have several pages or frames, of which only the first is read: {several[0]}"
            warnings.warn(f"{came} ...", stacklevel=3)
        return cls(height_and_width("size", size), colour, 2 ** highest.bit_length() - 1)

    def __call__(self, file: str | os.PathLike) -> UInt8[np.ndarray, "channels height width"]:
        """The pixels of one file.

        Raises:
            ValueError: a file that cannot be read, with 16 bits a colour, or with fractions or negative intensities.
        """
        check_path("file", file)
        with _opened(Path(file)) as image:
            if any("RGB" in str(tile) and ";16" in str(tile) for tile in getattr(image, "tile", ())):
                raise ValueError("16 bits a colour, of which the upper 8 would be read: black, where 12 are used")
            image = ImageOps.exif_transpose(image)  # cameras store "turn me", which would leave the images unaligned
            values = np.asarray(image)
            if image.mode == "F" or values.min() < 0:
                raise ValueError("fractional or negative intensities, whose black and white are unknown")
            if image.mode.startswith("I"):
                values = (values * (255 / self.white)).round().clip(max=255)
                image = Image.fromarray(values.astype(np.uint8))
            image = image.convert("RGB" if self.colour else "L").resize(self.size[::-1], Image.Resampling.LANCZOS)
        pixels = np.asarray(image)  # (H, W) or (H, W, 3)
        return pixels.transpose(2, 0, 1) if self.colour else pixels[None]


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        if file.suffix.lower() in DICOM_SUFFIXES:
            yield _from_dicom(file)
        else:
            with Image.open(file) as image:
                yield image
    except Exception as error:  # each of Pillow's decoders has its own ways to fail
        raise bad_value("path", f"{file}, which cannot be read ({error})", "an 8- or 16-bit image") from error


def _from_dicom(file: Path) -> Image.Image:
    """The first frame, white for high numbers whichever way they are stored; its rescaling and window are not used."""
    try:
        import pydicom
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("DICOM files need pydicom: pip install 'gsa-utils[dicom]'") from error
    data = pydicom.dcmread(file)
    pixels = data.pixel_array
    if getattr(data, "NumberOfFrames", 1) > 1:
        pixels = pixels[0]
    pixels = pixels.astype(np.int32)
    if str(getattr(data, "PhotometricInterpretation", "")) == "MONOCHROME1":
        pixels = 2 ** int(data.BitsStored) - 1 - pixels
    elif getattr(data, "PixelRepresentation", 0):  # signed, as of CT: from their lowest on
        pixels = pixels - pixels.min()
    if pixels.ndim == 3:
        return Image.fromarray(pixels.astype(np.uint8))
    return Image.fromarray(pixels.astype(np.uint16) if pixels.max() > 255 else pixels.astype(np.uint8))


def _in_colour(image: Image.Image) -> bool:
    pixels = np.asarray(image.convert("RGB"))
    return bool((pixels != pixels[..., :1]).any())
