"""Read an image file as 8-bit sRGB, with one clear line for a file that cannot be read."""

import hashlib
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import ClassVar

import PIL.Image

from rdbench.datasets.base import ImageError, Item
from rdbench.datasets.colour_tags import colour_tags
from rdbench.datasets.srgb import to_srgb
from rdbench.files import absolute
from rdbench.text import message
from rdcodecs import Image

_TAG_RULES = ", CICP rules 1"
"""Names what is done to colours by code points. Only files that are converted by it have it in their digest, as all
others have the pixels that they always had."""
_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for. Its other plugins read no photographs; one of them starts Ghostscript."""

_PLUGINS = {
    ".heic": ("HEIF", "pillow_heif", "register_heif_opener"),
    ".heif": ("HEIF", "pillow_heif", "register_heif_opener"),
    ".jxl": ("JXL", "pillow_jxl", None),
}
"""File name ending → format, the package that reads it, and the function of it that says so to Pillow."""

# fmt: off
SUFFIXES = frozenset({
    ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".jpx", ".pbm", ".pgm", ".png", ".pnm",
    ".ppm", ".tif", ".tiff", ".webp", *_PLUGINS,
})
# fmt: on
"""File name endings, in lower case, by which a file counts as an image."""


def read_image(path: str | Path) -> Image:
    """Read an image file.

    Args:
        path: a file in any format named in docs/datasets.md, of any colour model and depth listed there.

    Returns:
        uint8, shape (H, W, 3), sRGB.

    Raises:
        ImageError: the file is missing, empty, truncated, damaged, too large, or not an image.
    """
    return ImageFile(Path(path)).load()


@dataclass(frozen=True)
class ImageFile:
    """An image file that is read when asked for. Its methods can be sent to another process.

    A subclass may take the bytes from elsewhere (`open`) or change the image after reading (`finish`); in the
    second case it extends `rules`, so that the digest changes with the image.

    Attributes:
        path: the file.
        shown: the name that messages give it; by default its path.
        rules: names what is done to the file's pixels; part of the digest. It changes with any change of the
            code that moves a pixel.
    """

    path: Path
    shown: str = field(default="", kw_only=True)
    rules: ClassVar[str] = "sRGB 8-bit, rules 1"

    def item(self, name: str, caption: str | None = None) -> Item:
        """Return the `Item` of this file. It can be read from another folder, and messages keep the path as given."""
        here = replace(self, path=absolute(self.path), shown=self.shown or str(self))
        return Item(name, here.load, here.digest, caption)

    def load(self) -> Image:
        """Read the image: uint8, shape (H, W, 3), sRGB.

        Raises:
            ImageError: it cannot be read; one line with the file's name and the reason.
        """
        with _one_line(self.shown or str(self)), self.open() as stream:
            return self.finish(_decode(stream, self.path.suffix.lower()))

    def digest(self) -> str:
        """Return the hex SHA-256 of the file's bytes and of `rules`, and of more where code points decide its colours.

        Raises:
            ImageError: the file cannot be read.
        """
        with _one_line(self.shown or str(self)), self.open() as stream:
            digest = hashlib.file_digest(stream, "sha256")
            tagged = colour_tags(stream) is not None
        digest.update(self.rules.encode())
        if tagged:
            digest.update(_TAG_RULES.encode())
        return digest.hexdigest()

    def open(self) -> BufferedReader | BytesIO:
        """Open the file's bytes. Raises `ImageError` where it is a pipe or a device, which may never answer."""
        if self.path.exists() and not self.path.is_file():
            raise ImageError("not a file")
        return self.path.open("rb")

    def finish(self, image: Image) -> Image:
        """Return the image as this kind of file gives it out; may raise `ImageError` with the reason only."""
        return image

    def __str__(self) -> str:
        """Return the path, and what else tells the file."""
        return str(self.path)


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    try:
        yield
    # Pillow's plugins raise nearly any type on damaged data, and no image may be the end of a run.
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    match error:
        case ImageError():
            return str(error)
        case FileNotFoundError():
            return "no such file"
        case PIL.UnidentifiedImageError():
            return "not an image, damaged at its start, or of a format that is not read here"
        case PIL.Image.DecompressionBombError():
            return "too large to be read: crop it or scale it down to less than 178 megapixels"
        case OSError(strerror=str(reason)):
            return reason
        case MemoryError():
            return "not enough memory to decode it"
        case _:
            return f"damaged or truncated ({message(error)})"


def _decode(stream: BufferedReader | BytesIO, suffix: str) -> Image:
    if not stream.read(1):
        raise ImageError("the file is empty")
    tags = colour_tags(stream)
    formats = _formats(suffix)
    with warnings.catch_warnings():
        # Damaged metadata and large sizes are warned of; whatever harms the pixels is raised.
        warnings.simplefilter("ignore")
        with PIL.Image.open(stream, formats=formats) as picture:
            if picture.format == "PNG":
                # Pillow decodes without looking at the checksums, e.g. a download whose end is still zeros.
                picture.verify()
        with PIL.Image.open(stream, formats=formats) as picture:
            return to_srgb(picture, lambda: PIL.Image.open(stream, formats=formats), tags)


def _formats(suffix: str) -> list[str]:
    PIL.Image.init()
    formats = [name for name in _FORMATS if name in PIL.Image.OPEN]
    if suffix not in _PLUGINS:
        return formats
    name, package, register = _PLUGINS[suffix]
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise ImageError(f'to read {suffix} files: pip install "rdbench[codecs]"') from None
    if register:
        getattr(module, register)()
    return [*formats, name]
