"""Finding images that are missing or cut off, fast enough for a hundred thousand of them."""

import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ...utils.errors import UserError
from ...utils.text import first_few

__all__ = ['check_images', 'image_problem']

# How a whole file of each format begins and ends.
SIGNATURES = ((b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'))

THREADS = 16

SKIP = 'preflight.images=False under --cfg-options skips this check'

EXTENSIONS = ('.jpg', '.jpeg', '.png')


def check_images(
    folder: str, names: Sequence[str], source: str, places: Sequence[str] | None = None
) -> None:
    """Stop if an image file is missing or cut off.

    Every file is opened; its first and last bytes tell whether it is whole. Only where they do
    not (another format, bytes after the end of the image) the file is decoded. Damage in the
    middle of a file is not looked for.

    Args:
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str] | None): Where it names each, as 'line 3', for the message. Default
            None: not told.

    Raises:
        UserError: Counts the bad files and names the first few.
    """
    missing, broken = [], []
    paths = [os.path.join(folder, name) for name in names]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(image_problem, paths, chunksize=64)
        told = names if places is None else map('{} ({})'.format, names, places)
        for name, problem in zip(told, _with_progress(found, len(names), folder), strict=True):
            if problem:
                (missing if problem == 'missing' else broken).append(name)
    if missing:
        raise UserError(
            f'{len(missing)} of the {len(names)} images of {source} are not in {folder}: '
            f'{first_few(missing)}. Complete the folder, or correct data_root and '
            f'data_prefix ({SKIP}).'
        )
    if broken:
        raise UserError(
            f'{len(broken)} of the {len(names)} images in {folder} are cut off or no images: '
            f'{first_few(broken)}. Copy or download them again ({SKIP}).'
        )


def image_problem(path: str) -> str | None:
    """What is wrong with an image file: 'missing', 'broken', or None.

    Args:
        path (str): A local file.
    """
    try:
        with open(path, 'rb') as file:
            head = file.read(8)
            file.seek(-min(64, os.fstat(file.fileno()).st_size), os.SEEK_END)
            tail = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return 'missing'
    except OSError:
        return 'broken'
    for start, end in SIGNATURES:
        # Some cameras and editors pad a file with zeros.
        if head.startswith(start) and tail.rstrip(b'\0').endswith(end):
            return None
    return None if _decodes(path) else 'broken'


def _decodes(path: str) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
        return True
    except UnidentifiedImageError:
        # OpenCV, which loads the images in training, knows formats that Pillow does not.
        import cv2

        return cv2.imread(path, cv2.IMREAD_UNCHANGED) is not None
    except Image.DecompressionBombError:
        return True  # large, which is not for us to judge
    except (OSError, SyntaxError, ValueError):
        return False


def _with_progress(items: Iterable, total: int, what: str) -> Iterable:
    """Pass items on; from two seconds on, print how far it is and how long it still takes."""
    start = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        now = time.monotonic()
        if now - shown > 2 or (done == total and shown > start):
            left = (now - start) / done * (total - done)
            print(
                f'checking images in {what}: {done}/{total}, {left:.0f} s left',
                file=sys.stderr,
                flush=True,
            )
            shown = now
        yield item
