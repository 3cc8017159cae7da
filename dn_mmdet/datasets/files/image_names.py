"""Files that are missing by the name that is given, but are there by another."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations, islice
from urllib.parse import unquote

__all__ = ['find_misnamed']

# Suffixes of files that may stand for an image of another suffix.
IMAGES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.bmp', '.tif', '.tiff', '.webp', '.gif'),
    *('.jp2', '.ppm', '.pgm', '.heic', '.avif'),
)

# No more files than these are looked at: a folder may be the root of a disk.
MANY, MANY_FOLDERS = 500_000, 100

# In what two names may differ, and what makes one of both.
DIFFERENCES: dict[str, Callable[[str], str]] = {
    "the names have '\\' where the folder has '/'": lambda name: name.replace('\\', '/'),
    'the names are encoded as in a web address': unquote,
    'upper and lower case differ': str.casefold,
    'the names are in another Unicode form (NFC or NFD)': lambda name: unicodedata.normalize(
        'NFC', name
    ),
    'there are blanks around the names': lambda name: '/'.join(map(str.strip, name.split('/'))),
    'the suffix is another': lambda name: (
        os.path.splitext(name)[0] if name.lower().endswith(IMAGES) else name
    ),
}


def find_misnamed(folder: str, missing: Sequence[str], every: bool = False) -> str | None:
    """Tell why files are missing that are in the folder, or beside it, by another name.

    The folder is listed once, with the folders in it.

    Args:
        folder (str): Where the files should be.
        missing (Sequence[str]): Their names, relative to it.
        every (bool): Whether no file is found at all; then the folders beside it are looked at
            too. Defaults to False.

    Returns:
        str | None: An example, the difference, and what to do, in a sentence; None if nothing is
        found.
    """
    known = _Known(islice(_files_in(folder), MANY))
    counts: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    for name in missing:
        found = known.find(name)
        if found is not None:
            advice = _advice(name, found, folder)
            counts[advice] += 1
            examples.setdefault(advice, (name, found))
    if not counts:
        return _beside(folder, missing) if every else None
    advice, count = counts.most_common(1)[0]
    name, found = examples[advice]
    more = f' (and so for {count - 1} more)' if count > 1 else ''
    rest = '; the others are not there' if sum(counts.values()) < len(missing) else ''
    return f'{name!r} is missing, but {found!r} is there{more}: {advice}{rest}'


class _Known:
    """Files of a folder, to be found by names that differ from theirs."""

    def __init__(self, files: Iterable[str]) -> None:
        self.whole: dict[str, str] = {}
        self.tails: dict[str, str] = {}
        for file in files:
            # With the suffix, and without: the first comes before the second when a name is found.
            for key in {_alike(file), _alike(file, suffix=False)}:
                self.whole.setdefault(key, file)
                for tail in _tails(key):
                    self.tails.setdefault(tail, file)

    def find(self, name: str) -> str | None:
        """The file that a name may mean: by its spelling, in a folder below, or in no folder."""
        for key in (_alike(name), _alike(name, suffix=False)):
            for found in (
                self.whole.get(key),
                self.tails.get(key),
                *map(self.whole.get, _tails(key)),
            ):
                if found is not None:
                    return found
        return None


def _files_in(folder: str) -> Iterator[str]:
    for place, _, files in os.walk(folder or '.'):
        inner = os.path.relpath(place, folder or '.')
        for file in sorted(files):
            yield file if inner == '.' else f'{inner}/{file}'


def _alike(name: str, suffix: bool = True) -> str:
    """What is the same for names that are only written in another way."""
    for difference in [*DIFFERENCES.values()][: -1 if suffix else None]:
        name = difference(name)
    return name


def _tails(name: str) -> Iterator[str]:
    """The name without its first folder, without its first two, and so on."""
    parts = name.split('/')
    for i in range(len(parts)):
        yield '/'.join(parts[i:])


def _advice(name: str, found: str, folder: str) -> str:
    if name == found:
        return 'it is a link to a file that does not exist, so link or copy the files again'
    for number in range(len(DIFFERENCES) + 1):
        for reasons in combinations(DIFFERENCES, number):
            a, b = name, found
            for reason in reasons:
                a, b = DIFFERENCES[reason](a), DIFFERENCES[reason](b)
            if a == b:
                return f'{" and ".join(reasons)}; correct them in the file, or rename the images'
            if a.endswith(f'/{b}'):
                return _without(a[: -len(b)], folder)
            if b.endswith(f'/{a}'):
                inner = b[: -len(a)]
                return f'the images are in {inner!r} below that folder; add it to data_prefix'
    return 'the names are written in another way'


def _without(lead: str, folder: str) -> str:
    if '://' in lead:
        return 'the names are web addresses; leave all but the last part out of them'
    if re.match(r'[A-Za-z]:|/', lead):
        return 'the names are paths on another computer; make them relative to the image folder'
    if f'{os.path.normpath(folder)}/'.endswith(f'/{lead}'):
        return f'{lead!r} is in the names and in data_prefix; leave it out of data_prefix'
    return f'{lead!r} is no folder there; leave it out of the names'


def _beside(folder: str, missing: Sequence[str]) -> str | None:
    own = os.path.abspath(folder)
    parent = os.path.dirname(own)
    try:
        inner = sorted(entry.path for entry in os.scandir(parent) if entry.is_dir())
    except OSError:
        return None
    for name in missing[:3]:
        for place in [parent, *inner[:MANY_FOLDERS]]:
            if place != own and _is_file(os.path.join(place, name)):
                return f'{name!r} is in {place}: correct data_root and data_prefix'
    return None


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # no file can have such a name
        return False
