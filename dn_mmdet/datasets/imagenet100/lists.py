"""Sharing the images out to the lists, and writing them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.text import first_few

__all__ = ['FILES', 'SPLITS', 'draw', 'make_lists', 'write_lists']

SPLITS = ('train', 'val', 'test')

FILES = ('classes.txt', *(f'{split}.txt' for split in SPLITS))


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
