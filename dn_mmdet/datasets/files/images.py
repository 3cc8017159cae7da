"""Image files: which count, and what is wrong with one, fast enough for a hundred thousand."""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.text import first_few

__all__ = ['EXTENSIONS', 'THREADS', 'check_images', 'image_problem']

# Suffixes that count as images, lower case.
EXTENSIONS = ('.jpg', '.jpeg', '.png')

# Opening files waits for the disk more than for a core.
THREADS = 16

# How a whole file of each format begins and ends.
SIGNATURES = ((b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82'))

SKIP = 'preflight.images=False under --cfg-options skips this check'


def check_images(
    folder: str, names: Sequence[str], source: str, places: Sequence[str] | None = None
) -> None:
    """Stop if an image file is missing or truncated.

    Every file is opened; its first and last bytes tell whether it is whole. Only where they do
    not (another format, bytes after the end of the image) the file is decoded. Damage in the
    middle of a file is not looked for.

    Args:
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str], optional): Where it names each, as 'line 3', for the message.

    Raises:
        UserError: Counts the bad files and names the first few.
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
    if missing:
        raise UserError(
            f'{len(missing)} of the {len(names)} images of {source} are not in {folder}: '
            f'{first_few(missing)}. Complete the folder, or correct data_root and '
            f'data_prefix ({SKIP}).'
        )
    if broken:
        raise UserError(
            f'{len(broken)} of the {len(names)} images in {folder} are truncated or not images: '
            f'{first_few(broken)}. Copy or download them again ({SKIP}).'
        )


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
