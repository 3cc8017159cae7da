"""The images that a data set names: what is missing, broken, or of another size than is stated."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

from ...utils.text import first_few
from .image_file import FOLDER, ImageReader, load_somehow, look_at_image
from .image_names import find_misnamed
from .image_sizes import SizeMismatch, mismatch_cause, mismatch_sentence

__all__ = [
    'EXTENSIONS',
    'THREADS',
    'ImageFindings',
    'image_problem',
    'look_at_images',
]

# Suffixes that count as images, lower case.
EXTENSIONS = ('.jpg', '.jpeg', '.png')

# Opening files waits for the disk more than for a core.
THREADS = 16

SKIP = 'preflight.images=False under --cfg-options skips this check'

# Of a file that nothing is known of.
SOME_READER = ImageReader('OpenCV or Pillow', load_somehow, turns=None)

# What a file is that is no image, and what to do.
REMEDIES = {
    'broken': ('truncated or not images', 'Copy or download them again'),
    'Git LFS pointers': ('Git LFS pointers, not images', "Download them with 'git lfs pull'"),
    'HTML pages': ('HTML pages, not images', 'Download the images again'),
    'not plain files': ('pipes or devices, not images', 'Correct their names'),
    FOLDER: (FOLDER, 'Correct their names, which must be those of files'),
}


class ImageFindings(NamedTuple):
    """What is wrong with the images of a data set, a sentence for each kind.

    Args:
        errors (list[str]): What makes a run fail or wrong.
        notes (list[str]): What does not, but should be known.
    """

    errors: list[str]
    notes: list[str]


def look_at_images(
    folder: str,
    names: Sequence[str],
    source: str,
    places: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int] | None] | None = None,
    reader: ImageReader | None = None,
) -> ImageFindings:
    """Look for image files that are missing, do not load, or have another size than is stated.

    Every file is opened once. Of a JPEG or PNG file the first and last bytes tell whether it is
    whole, and the header tells its size. Other formats, and files with bytes behind the end of
    the image, are decoded. Damage in the middle of a file is not looked for.

    Args:
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str], optional): Where it names each, as 'line 3', for the message.
        sizes (Sequence, optional): What it says of the width and height of each, in pixels; None
            for an image it says nothing of.
        reader (ImageReader, optional): What loads the images. Defaults to OpenCV, with the EXIF
            orientation applied, as LoadImageFromFile does it by default.

    Returns:
        ImageFindings: Count the images for each problem and name the first few.
    """
    from tqdm import tqdm  # which the layers, imported with mmengine alone, do without

    reader = reader or ImageReader()
    told = names if places is None else [*map('{} ({})'.format, names, places)]
    missing: list[int] = []
    problems: dict[str, list[str]] = {}
    mismatches: dict[str, list[SizeMismatch]] = {}
    with ThreadPoolExecutor(THREADS) as pool, _silence():
        found = tqdm(
            pool.map(
                lambda name: look_at_image(os.path.join(folder, name), reader, sizes is not None),
                names,
            ),
            total=len(names),
            desc=f'checking images in {folder}',
            unit='image',
            # Nothing is shown of a check that is done in two seconds; a log file gets a line now
            # and then.
            delay=2,
            mininterval=0.5 if sys.stderr.isatty() else 30,
        )
        for i, image in enumerate(found):
            if image.problem == 'missing':
                missing.append(i)
            elif image.problem:
                problems.setdefault(image.problem, []).append(told[i])
            elif sizes is not None and sizes[i] is not None and image.size is not None:
                stated = tuple(sizes[i])
                cause = mismatch_cause(stated, image.size, image.turned, reader.turns)
                if cause:
                    mismatch = SizeMismatch(told[i], stated, image.size)
                    mismatches.setdefault(cause, []).append(mismatch)
    errors = []
    if missing:
        remedy = find_misnamed(folder, [names[i] for i in missing], len(missing) == len(names))
        errors.append(
            f'{len(missing)} of the {len(names)} images of {source} are not in {folder}: '
            f'{first_few(told[i] for i in missing)}. '
            f'{remedy or "Complete the folder, or correct data_root and data_prefix"} ({SKIP}).'
        )
    for problem, bad in problems.items():
        what, remedy = _described(problem, reader)
        errors.append(
            f'{len(bad)} of the {len(names)} images in {folder} are {what}: {first_few(bad)}. '
            f'{remedy} ({SKIP}).'
        )
    sentences = {
        cause: mismatch_sentence(cause, bad, len(names), folder, source)
        for cause, bad in mismatches.items()
    }
    notes = [sentences.pop('rounded')] if 'rounded' in sentences else []
    return ImageFindings([*errors, *(f'{text} ({SKIP}).' for text in sentences.values())], notes)


def image_problem(path: str) -> str | None:
    """What is wrong with an image file: 'missing', 'broken', or None.

    Args:
        path (str): A local file.

    Returns:
        str | None: The problem.
    """
    problem = look_at_image(path, SOME_READER).problem
    return problem if problem in (None, 'missing') else 'broken'


def _described(problem: str, reader: ImageReader) -> tuple[str, str]:
    kind, _, detail = problem.partition(': ')
    if kind == 'unreadable':
        return f'not readable ({detail})', 'Correct the permissions or the names of the files'
    if kind == 'format':
        kinds = ' or '.join(reader.kinds)
        remedy = f'Convert them to {kinds}' if kinds else 'Choose another imdecode_backend'
        return f'in a format that {reader.name} does not load ({detail})', remedy
    return REMEDIES[problem]


@contextmanager
def _silence() -> Iterator[None]:
    """Keep to ourselves what the libraries say of a file; it is told in a sentence."""
    import cv2

    # OpenCV 4.11 and 4.13 have it in different places.
    set_level = cv2.setLogLevel if hasattr(cv2, 'setLogLevel') else cv2.utils.logging.setLogLevel
    level = set_level(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        set_level(level)
