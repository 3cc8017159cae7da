"""Which classes, which images go to which list, and the lists as files."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.text import first_few

__all__ = [
    'FILES',
    'NAMED',
    'SHIPPED',
    'SPLITS',
    'draw',
    'draw_classes',
    'ilsvrc2012_synsets',
    'make_lists',
    'read_synsets',
    'write_lists',
]

SPLITS = ('train', 'val', 'test')

FILES = ('classes.txt', *(f'{split}.txt' for split in SPLITS))

# The classes that the paper names; it does not list the others.
NAMED = ('n11939491', 'n01770081', 'n03179701', 'n02088466')

SHIPPED = Path(__file__).with_name('classes.txt')

_ALL = Path(__file__).with_name('ilsvrc2012_synsets.txt')


def make_lists(
    images: Mapping[str, Mapping[str, Sequence[str]]],
    bad: Mapping[str, str],
    val_share: float,
    seed: int,
) -> dict[str, dict[str, list[str]]]:
    """Share each class's training images out to train and val.

    The draw is made of all images of a class before the bad ones are left out, so that two people
    get the same split but for the images that one of them lacks.

    Args:
        images (Mapping): ``'train'`` and ``'test'`` to the paths of each class.
        bad (Mapping[str, str]): Paths to leave out.
        val_share (float): Share of the training images that is val, in (0, 1).
        seed (int): Seed of the draw.

    Returns:
        dict[str, dict[str, list[str]]]: Split to class to paths.

    Raises:
        UserError: A class would have no image in a split.
    """
    lists: dict[str, dict[str, list[str]]] = {split: {} for split in SPLITS}
    for synset, paths in images['train'].items():
        names = {path.rpartition('/')[2]: path for path in paths}
        drawn = draw(names, round(val_share * len(names)), f'{seed}/{synset}')
        lists['train'][synset] = [path for name, path in names.items() if name not in drawn]
        lists['val'][synset] = [path for name, path in names.items() if name in drawn]
    lists['test'] = {synset: list(paths) for synset, paths in images['test'].items()}
    for split, classes in lists.items():
        for paths in classes.values():
            paths[:] = [path for path in paths if path not in bad]
        empty = [synset for synset, paths in classes.items() if not paths]
        if empty:
            lost = [path for path in bad if any(f'{name}/' in path for name in empty)]
            why = f' ({len(lost)} of their images are missing or broken)' if lost else ''
            raise UserError(
                f'{len(empty)} of the {len(classes)} classes would have no image in '
                f'{split}: {first_few(empty)}{why}; complete their folders, or give another '
                '--val-share.'
            )
    return lists


def write_lists(out: Path, lists: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Write ``classes.txt``, a synset id a line, and a list ``path label`` for each split.

    The label is the place in ``classes.txt``, from 0.

    Args:
        out (Path): Folder to write to.
        lists (Mapping): What :func:`make_lists` returned.
    """
    classes = list(lists['train'])
    _write(out / 'classes.txt', classes)
    for split in SPLITS:
        _write(
            out / f'{split}.txt',
            [
                f'{path} {label}'
                for label, synset in enumerate(classes)
                for path in lists[split][synset]
            ],
        )


def _write(path: Path, lines: Sequence[str]) -> None:
    write_text(path, ''.join(f'{line}\n' for line in lines))


def draw(names: Iterable[str], number: int, key: str) -> set[str]:
    """Draw without replacement: the names whose SHA-256, together with the key, is smallest.

    The draw depends neither on the order of the names nor on a generator of random numbers, and a
    name that comes or goes moves at most one other name. A file's suffix does not count, so that a
    copy of the images in another format is drawn alike.

    Args:
        names (Iterable[str]): Distinct names.
        number (int): How many to draw.
        key (str): The seed, and what is drawn: other keys give independent draws.

    Returns:
        set[str]: The drawn names.
    """

    def rank(name: str) -> tuple[bytes, str]:
        stem = name.rpartition('.')[0] or name
        return hashlib.sha256(f'{key}/{stem}'.encode()).digest(), name

    return set(sorted(names, key=rank)[:number])


def draw_classes(seed: int = 0) -> list[str]:
    """Draw 100 of the 1000 synsets of ILSVRC-2012, the paper's four named ones among them.

    Args:
        seed (int): Seed of the draw. Defaults to 0: the list that is shipped, ``classes.txt``.

    Returns:
        list[str]: 100 synset ids, sorted.
    """
    others = set(ilsvrc2012_synsets()) - set(NAMED)
    return sorted({*NAMED, *draw(others, 100 - len(NAMED), f'{seed}/classes')})


def ilsvrc2012_synsets() -> list[str]:
    """The 1000 synset ids in sorted order, in which Caffe's and most others' labels count."""
    return _ALL.read_text(encoding='ascii').split()


def read_synsets(path: Path = SHIPPED) -> list[str]:
    """Read a class list: a synset id a line; what follows it, empty lines and # do not count.

    Args:
        path (Path): Text file. Defaults to the shipped list.

    Returns:
        list[str]: The synset ids, sorted as a folder of class folders would be.

    Raises:
        UserError: There is no such file, or it holds another thing than distinct synset ids.
    """
    try:
        text = path.read_text(encoding='utf-8', errors='replace')
    except OSError as error:
        raise UserError(
            f'The class list {path} cannot be read: {error.strerror}; give a file with '
            'one synset id per line with --classes, or leave it out.'
        ) from error
    classes: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition('#')[0].split()
        if not words:
            continue
        if not re.fullmatch(r'n\d{8}', words[0]):
            raise UserError(
                f'{path}, line {number}: {words[0]!r} is not a synset id; each line must '
                'begin with one, such as n01440764.'
            )
        classes.append(words[0])
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise UserError(
            f'{len(twice)} synset ids occur more than once in {path}: {first_few(twice)}; '
            'keep one line of each.'
        )
    if len(classes) < 2:
        raise UserError(f'{path} lists {len(classes)} classes; a classifier needs 2 or more.')
    return sorted(classes)
