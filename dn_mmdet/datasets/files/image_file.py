"""One image file: whether the library that loads it can, and its size as that library sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ['FOLDER', 'ImageFile', 'ImageReader', 'load_somehow', 'look_at_image']

Size = tuple[int, int]

# How a whole file of each format begins and ends.
SIGNATURES = {
    'JPEG': (b'\xff\xd8\xff', b'\xff\xd9'),
    'PNG': (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'),
}

# What else goes by the name of an image, by its first bytes in lower case.
OTHER_FILES = {
    b'version https://git-lfs': 'Git LFS pointers',
    b'<!doctype html': 'HTML pages',
    b'<html': 'HTML pages',
}

# A format of which Pillow does not know all.
OTHER_FORMATS = {b'II*\0': 'TIFF', b'MM\0*': 'TIFF'}

# OpenCV refuses more, unless an environment variable says otherwise.
MANY_PIXELS = 1 << 30

FOLDER = 'folders'


def load_somehow(path: str) -> Size:
    """Width and height of an image that Pillow or OpenCV decodes.

    Raises:
        Exception: Neither does.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return _load_with_pillow(path)
    except (UnidentifiedImageError, Image.DecompressionBombError):
        return _load_with_opencv(path)


@dataclass(frozen=True)
class ImageReader:
    """What loads the images of a run.

    Args:
        name (str): For messages. Defaults to 'OpenCV'.
        load (Callable[[str], tuple[int, int]]): Decodes a file and returns width and height;
            raises what it likes where it cannot. Defaults to OpenCV.
        turns (bool, optional): Whether an image is turned as its EXIF orientation says. Defaults
            to True; None is not known.
        kinds (tuple[str, ...]): Formats of which a whole file is sure to load. Defaults to JPEG and
            PNG.
    """

    name: str = 'OpenCV'
    load: Callable[[str], Size] = lambda path: _load_with_opencv(path)
    turns: bool | None = True
    kinds: tuple[str, ...] = ('JPEG', 'PNG')


class ImageFile(NamedTuple):
    """What is known of an image file.

    Args:
        problem (str, optional): 'missing', 'broken', what the file is instead of an image
            ('HTML pages'), 'format: TIFF' for one that is not loaded, or 'unreadable: ' and the
            reason. Defaults to None, it loads.
        size (tuple[int, int], optional): Width and height as loaded. Defaults to None, not asked
            for.
        turned (tuple[int, int], optional): Width and height with the EXIF orientation ignored if
            it was applied, or applied if it was ignored. Defaults to None, there is none that
            swaps the sides.
    """

    problem: str | None = None
    size: Size | None = None
    turned: Size | None = None


def look_at_image(path: str, reader: ImageReader, measure: bool = False) -> ImageFile:
    """Look at the first and last bytes of a file, and at its header where the size is asked for.

    Only where these do not tell, as of another format, the file is decoded.

    Args:
        path (str): A local file.
        reader (ImageReader): What loads it.
        measure (bool): Whether the size is asked for. Defaults to False.

    Returns:
        ImageFile: What is wrong with it, or its size.
    """
    header = None
    try:
        kind = os.stat(path).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            return ImageFile('not plain files')  # a pipe would be waited for
        with open(path, 'rb') as file:
            head = file.read(32)
            file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
            kind = next((k for k, (start, _) in SIGNATURES.items() if head.startswith(start)), '')
            # Some cameras and editors pad a file with zeros.
            whole = kind and tail.rstrip(b'\0').endswith(SIGNATURES[kind][1])
            if measure and whole and kind in reader.kinds:
                header = _read_header(file, kind)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ImageFile('missing')  # ValueError: no file can have such a name
    except IsADirectoryError:
        return ImageFile(FOLDER)
    except OSError as error:
        return ImageFile(f'unreadable: {error.strerror}')
    if whole and kind in reader.kinds and not measure:
        return ImageFile()
    if header is not None:
        return _as_loaded(header, reader.turns)
    return _decoded(path, reader, kind, whole, head, measure)


def _as_loaded(header: tuple[Size, bool], turns: bool | None) -> ImageFile:
    size, sideways = header
    if not sideways:
        return ImageFile(None, size)
    return ImageFile(None, size[::-1], size) if turns else ImageFile(None, size, size[::-1])


def _read_header(file: BinaryIO, kind: str) -> tuple[Size, bool] | None:
    """Width and height as stored, and whether the EXIF orientation swaps them."""
    from PIL import JpegImagePlugin, PngImagePlugin

    file.seek(0)
    try:
        # Not Image.open, which tries other formats and has an opinion about large images.
        if kind == 'JPEG':
            image = JpegImagePlugin.JpegImageFile(file)
        else:
            image = PngImagePlugin.PngImageFile(file)
        sideways = _is_sideways(image)
    except Exception:
        return None
    width, height = image.size
    # Not every release of OpenCV turns a PNG file.
    unclear = kind == 'PNG' and sideways
    return None if unclear or width * height > MANY_PIXELS else ((width, height), sideways)


def _is_sideways(image: Image) -> bool:
    """Whether the EXIF orientation swaps the sides of an image that Pillow has opened."""
    from PIL import Image

    data = image.info.get('exif')
    if not data:
        return False
    # Not getexif, which takes XMP for EXIF, as OpenCV does not, and may decode a PNG file.
    exif = Image.Exif()
    exif.load(data)
    return exif.get(0x112) in (5, 6, 7, 8)


def _decoded(
    path: str, reader: ImageReader, kind: str, whole: bool, head: bytes, measure: bool
) -> ImageFile:
    from PIL import Image

    try:
        if kind and not whole:
            # Some releases of OpenCV fill up what is missing.
            with suppress(Image.DecompressionBombError):
                _load_with_pillow(path)
        size = tuple(reader.load(path))
    except Exception:
        return ImageFile(_what_it_is(path, reader, kind, head))
    return ImageFile(None, size, _before_turning(path, size) if measure else None)


def _before_turning(path: str, size: Size) -> Size | None:
    """The sides as stored, of an image that was turned for its EXIF orientation."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            turned = size[0] != size[1] and image.size == size[::-1]
            return image.size if turned and _is_sideways(image) else None
    except Exception:
        return None


def _what_it_is(path: str, reader: ImageReader, kind: str, head: bytes) -> str:
    begins = head.lstrip(b'\xef\xbb\xbf \r\n\t').lower()
    other = next((what for start, what in OTHER_FILES.items() if begins.startswith(start)), None)
    if other:
        return other
    if kind in reader.kinds:
        return 'broken'
    if head[4:8] == b'ftyp':  # HEIC and AVIF
        return f'format: {head[8:12].decode("latin-1").strip().upper()}'
    form = _format_by_pillow(path)
    if form:
        try:
            _load_with_pillow(path)
        except Exception:
            return 'broken'
    form = form or next((f for start, f in OTHER_FORMATS.items() if head.startswith(start)), None)
    return f'format: {form}' if form else 'broken'


def _format_by_pillow(path: str) -> str | None:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.format
    except Exception:
        return None


def _load_with_pillow(path: str) -> Size:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return image.size


def _load_with_opencv(path: str) -> Size:
    import cv2
    import numpy as np

    # As mmcv does, since imread has ways of its own.
    with open(path, 'rb') as file:
        image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError('OpenCV knows no such image')
    return image.shape[1], image.shape[0]
