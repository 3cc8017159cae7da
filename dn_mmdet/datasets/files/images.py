"""Image files: which count, and what is wrong with one, fast enough for a hundred thousand."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.text import first_few

__all__ = [
    'EXTENSIONS',
    'THREADS',
    'ImageFindings',
    'check_images',
    'image_problem',
    'look_at_images',
]

# Suffixes that count as images, lower case.
EXTENSIONS = ('.jpg', '.jpeg', '.png')

# Opening files waits for the disk more than for a core.
THREADS = 16

# How a whole file of each format begins and ends.
SIGNATURES = ((b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'))

SKIP = 'preflight.images=False under --cfg-options skips this check'


class ImageFindings(NamedTuple):
    """What is wrong with the images of a data set, a sentence for each kind.

    Args:
        errors (list[str]): What makes a run fail or wrong.
        notes (list[str]): What does not, but should be known.
    """

    errors: list[str]
    notes: list[str]


def check_images(
    folder: str, names: Sequence[str], source: str, places: Sequence[str] | None = None
) -> None:
    """Stop at the first error that :func:`look_at_images` finds.

    Raises:
        UserError: Counts the bad files and names the first few.
    """
    for sentence in look_at_images(folder, names, source, places).errors:
        raise UserError(sentence)


def look_at_images(
    folder: str,
    names: Sequence[str],
    source: str,
    places: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int] | None] | None = None,
) -> ImageFindings:
    """Look for image files that are missing, truncated, or of another size than is said of them.

    Every file is opened; its first and last bytes tell whether it is whole. Only where they do
    not (another format, bytes after the end of the image) the file is decoded. Damage in the
    middle of a file is not looked for.

    Args:
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str], optional): Where it names each, as 'line 3', for the message.
        sizes (Sequence, optional): What it says of the width and height of each, in pixels; None
            for an image it says nothing of.

    Returns:
        ImageFindings: Count the bad files and name the first few.
    """
    missing, broken = [], []
    paths = [os.path.join(folder, name) for name in names]
    with ThreadPoolExecutor(THREADS) as pool:
        found = tqdm(
            pool.map(image_problem, paths),
            total=len(names),
            desc=f'checking images in {folder}',
            unit='image',
            # Nothing is shown of a check that is done in two seconds; a log file gets a line now
            # and then.
            delay=2,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )
        told = names if places is None else map('{} ({})'.format, names, places)
        for name, problem in zip(told, found, strict=True):
            if problem:
                (missing if problem == 'missing' else broken).append(name)
    errors = []
    if missing:
        errors.append(
            f'{len(missing)} of the {len(names)} images of {source} are not in {folder}: '
            f'{first_few(missing)}. Complete the folder, or correct data_root and '
            f'data_prefix ({SKIP}).'
        )
    if broken:
        errors.append(
            f'{len(broken)} of the {len(names)} images in {folder} are truncated or not images: '
            f'{first_few(broken)}. Copy or download them again ({SKIP}).'
        )
    return ImageFindings(errors, [])


def image_problem(path: str) -> str | None:
    """What is wrong with an image file: 'missing', 'broken', or None.

    Args:
        path (str): A local file.

    Returns:
        str | None: The problem.
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
