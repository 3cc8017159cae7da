"""Finding the images of some classes in an ILSVRC-2012 tree, without opening them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.errors import UserError
from ...utils.text import first_few
from ..files.images import EXTENSIONS
from .validation_labels import find_validation_labels

__all__ = ['find_class_images']

# Below the folder that the user names: as the archives unpack, and as Kaggle packs them.
_PLACES = ('', 'ILSVRC/Data/CLS-LOC')


def find_class_images(
    root: Path, classes: Sequence[str], val_list: Path | None = None
) -> dict[str, dict[str, list[str]]]:
    """List the training and the original validation images of the classes.

    Args:
        root (Path): Folder with ``train/`` and ``val/``, or Kaggle's with ``ILSVRC/``.
        classes (Sequence[str]): Synset ids.
        val_list (Path, optional): Labels of a ``val/`` without class folders. Defaults to the
            first that is found in the usual places; see :func:`find_validation_labels`.

    Returns:
        dict[str, dict[str, list[str]]]: For ``'train'`` and ``'test'``, the paths of each class
        relative to ``root``, with slashes, sorted. The labels may name images that are not there.

    Raises:
        UserError: A folder, a class, or the labels are missing, or a class has no image.
    """
    if not root.is_dir():
        raise UserError(
            f'There is no folder {root}; give the folder of ILSVRC-2012 that holds train/ and val/.'
        )
    train, val = _split_folder(root, 'train'), _split_folder(root, 'val')
    images = {'train': _in_class_folders(root, train, classes)}
    if not any((val / name).is_dir() for name in classes):
        names = _image_names(os.listdir(val))
        labels = find_validation_labels(root, val, names, val_list)
        images['test'] = _of_labels(root, val, names, classes, labels)
    elif val_list is not None:
        raise UserError(
            f'{val} holds class folders, so --val-list {val_list} has nothing to tell; '
            'leave it out.'
        )
    else:
        images['test'] = _in_class_folders(root, val, classes)
    return images


def _split_folder(root: Path, name: str) -> Path:
    for place in _PLACES:
        if (root / place / name).is_dir():
            return root / place / name
    raise UserError(
        f'{root} has no folder {name}/ (nor {_PLACES[1]}/{name}, as Kaggle packs it); '
        'give the folder of ILSVRC-2012 that holds train/ and val/.'
    )


def _image_names(names: Iterable[str]) -> list[str]:
    # macOS leaves ._* beside the files of an archive that it unpacks.
    return sorted(
        name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith('._')
    )


def _in_class_folders(root: Path, folder: Path, classes: Sequence[str]) -> dict[str, list[str]]:
    missing = [name for name in classes if not (folder / name).is_dir()]
    if missing:
        packed = (
            ' (their .tar files are there: unpack each into a folder of its name)'
            if (folder / f'{missing[0]}.tar').is_file()
            else ''
        )
        raise UserError(
            f'{len(missing)} of the {len(classes)} classes have no folder in {folder}: '
            f'{first_few(missing)}{packed}; complete it, or give '
            'another list with --classes.'
        )
    images = {name: _image_names(os.listdir(folder / name)) for name in classes}
    empty = [name for name in classes if not images[name]]
    if empty:
        raise UserError(
            f'{len(empty)} of the {len(classes)} class folders of {folder} hold no '
            f'image ({", ".join(EXTENSIONS)}): {first_few(empty)}; fill them, or give '
            'another list with --classes.'
        )
    start = folder.relative_to(root).as_posix()
    return {name: [f'{start}/{name}/{file}' for file in images[name]] for name in classes}


def _of_labels(
    root: Path,
    folder: Path,
    names: Sequence[str],
    classes: Sequence[str],
    labels: Mapping[str, str],
) -> dict[str, list[str]]:
    """The images that the labels name, there or not: what is not is found when it is opened."""
    start = folder.relative_to(root).as_posix()
    files = {name.rpartition('.')[0]: name for name in names}
    images: dict[str, list[str]] = {name: [] for name in classes}
    for stem, synset in sorted(labels.items()):
        if synset in images:
            images[synset].append(f'{start}/{files.get(stem, f"{stem}.JPEG")}')
    empty = [name for name in classes if not images[name]]
    if empty:
        raise UserError(
            f'The labels of {folder} name no image of {len(empty)} of the '
            f'{len(classes)} classes: {first_few(empty)}; give the list of all images '
            'with --val-list.'
        )
    return images
