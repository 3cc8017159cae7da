"""Sharing the images out to the lists, and writing them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dn_mmdet.engine.atomic import atomic_write
from dn_mmdet.engine.check_images import some
from dn_mmdet.engine.errors import UserError

from .draw import draw

__all__ = ['FILES', 'SPLITS', 'make_lists', 'write_lists']

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
                f'{split}: {some(empty)}{why}; complete their folders, or give another '
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
    with atomic_write(path) as file:
        file.write(''.join(f'{line}\n' for line in lines).encode())
