"""Finding the images of some classes, and the labels of val, in an ILSVRC-2012 tree."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.errors import UserError
from ...utils.python39 import zip_strict
from ...utils.text import first_few
from ..files.images import EXTENSIONS
from .lists import ilsvrc2012_synsets

__all__ = ['find_class_images', 'find_validation_labels', 'read_devkit_synsets']

# Below the folder that the user names: as the archives unpack, and as Kaggle packs them.
_PLACES = ('', 'ILSVRC/Data/CLS-LOC')

_GROUND_TRUTH = 'ILSVRC2012_validation_ground_truth.txt'

_LABEL_PLACES = (
    *(
        f'{folder}{_GROUND_TRUTH}'
        for folder in (
            '',
            'data/',
            'devkit/',
            'devkit/data/',
            'ILSVRC2012_devkit_t12/data/',
            'meta/',
        )
    ),
    'LOC_val_solution.csv',
    'val.txt',
    'meta/val.txt',
    'caffe_ilsvrc12/val.txt',
)

_NUMBER_OF_IMAGES = 50_000


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
            f'{val} holds class folders, so --val-list {val_list} is not needed; leave it out.'
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
            f'{first_few(missing)}{packed}; add the missing folders, or give '
            'another list with --classes.'
        )
    images = {name: _image_names(os.listdir(folder / name)) for name in classes}
    empty = [name for name in classes if not images[name]]
    if empty:
        raise UserError(
            f'{len(empty)} of the {len(classes)} class folders of {folder} contain no '
            f'images ({", ".join(EXTENSIONS)}): {first_few(empty)}; fill them, or give '
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
            f'In the labels of {folder}, {len(empty)} of the {len(classes)} classes have no image: '
            f'{first_few(empty)}; give the list of all images with --val-list.'
        )
    return images


def find_validation_labels(
    root: Path, val: Path, images: Sequence[str], path: Path | None = None
) -> dict[str, str]:
    """Read which synset each validation image shows.

    Three kinds of file are known, each with one image a line: the devkit's ground truth, whose
    line i is the ILSVRC2012_ID (*not* the place in the sorted synsets; the devkit's ``meta.mat``
    translates) of ``ILSVRC2012_val_{i:08d}``; Caffe's ``val.txt``, a file name and the place of
    its class in the sorted synsets, from 0; Kaggle's ``LOC_val_solution.csv``, a file name and a
    synset id. In all three a synset id may stand in the place of the number.

    Args:
        root (Path): Folder of ILSVRC-2012, in which the file is looked for.
        val (Path): Folder of the images.
        images (Sequence[str]): File names in it.
        path (Path, optional): The file. Defaults to the first found in the usual places.

    Returns:
        dict[str, str]: File name without its suffix, to synset id.

    Raises:
        UserError: No file is found, it cannot be understood, or it does not fit the images.
    """
    path = path or next((root / place for place in _LABEL_PLACES if (root / place).is_file()), None)
    if path is None:
        raise UserError(
            f'{val} has no class folders, and there is no list of its labels: '
            f"put the devkit's {_GROUND_TRUTH} with its meta.mat, or Caffe's val.txt, "
            f'into {root}, or give one with --val-list.'
        )
    labels = _read(path)
    _check_fit(path, labels, val, images)
    return labels


def _read(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    except OSError as error:
        raise UserError(
            f'The list {path} cannot be read: {error.strerror}; correct --val-list.'
        ) from error
    rows = [(i, line.replace(',', ' ').split()) for i, line in enumerate(lines, 1) if line.strip()]
    if rows and rows[0][1][0] == 'ImageId':
        del rows[0]
    if not rows:
        raise UserError(f'The list {path} is empty; give another with --val-list.')
    if all(len(words) == 1 for _, words in rows):
        if len(rows) > _NUMBER_OF_IMAGES:
            raise UserError(
                f'{path} has {len(rows)} lines, but the validation set has '
                f'{_NUMBER_OF_IMAGES} images; give its own list with --val-list.'
            )
        # Blank lines shift no image: the devkit numbers the labels, not the lines.
        rows = [(i, [f'ILSVRC2012_val_{n:08d}', *words]) for n, (i, words) in enumerate(rows, 1)]
        synset_of = _by_table(lambda: read_devkit_synsets(path), 'an ILSVRC2012_ID', path)
    else:
        synset_of = _by_table(
            lambda: {str(i): name for i, name in enumerate(ilsvrc2012_synsets())},
            'a place in the 1000 sorted synsets, 0 to 999,',
            path,
        )
    labels: dict[str, str] = {}
    for number, words in rows:
        if len(words) < 2:
            raise UserError(
                f'{path}, line {number}: {words[0]!r} has no label; each line must be '
                'a file name and a label.'
            )
        stem = Path(words[0]).stem
        if stem in labels:
            raise UserError(f'{path}, line {number}: {stem} is listed a second time.')
        labels[stem] = synset_of(words[1], number)
    return labels


def _by_table(
    table: Callable[[], Mapping[str, str]], what: str, path: Path
) -> Callable[[str, int], str]:
    """Translate a label; the table is only read where a label is not a synset id already."""
    known = set(ilsvrc2012_synsets())
    read: dict[str, str] = {}

    def synset_of(label: str, number: int) -> str:
        if label in known:
            return label
        if not read:
            read.update(table())
        if label not in read:
            raise UserError(
                f'{path}, line {number}: {label!r} is neither {what} nor a synset id of '
                'ILSVRC-2012; give another list with --val-list.'
            )
        return read[label]

    return synset_of


def _check_fit(path: Path, labels: Mapping[str, str], val: Path, images: Sequence[str]) -> None:
    stems = {name.rpartition('.')[0] for name in images}
    if not stems & set(labels):
        raise UserError(
            f'None of the {len(labels)} images that {path} labels is in {val} (the '
            f'first is {next(iter(labels))}); unpack the validation images into it, or '
            'give its own list with --val-list.'
        )
    unlabeled = sorted(stems - set(labels))
    if unlabeled:
        raise UserError(
            f'{path} labels {len(labels)} images, but {len(unlabeled)} of the '
            f'{len(stems)} images in {val} are not among them: {first_few(unlabeled)}; '
            'give the whole list with --val-list.'
        )


def read_devkit_synsets(ground_truth: Path) -> dict[str, str]:
    """Read which synset each ILSVRC2012_ID stands for.

    Args:
        ground_truth (Path): The devkit's ground truth; ``meta.mat`` lies next to it, in ``data/``,
            or in the devkit's own folder.

    Returns:
        dict[str, str]: ILSVRC2012_ID, as text, to synset id.

    Raises:
        UserError: There is no ``meta.mat``, or it is not ILSVRC-2012's.
    """
    places = ('', 'data/', 'devkit/data/', 'ILSVRC2012_devkit_t12/data/')
    paths = [ground_truth.parent / f'{place}meta.mat' for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UserError(
            f'{ground_truth} numbers the classes as the devkit does, and its table '
            f'{paths[0]} is missing; put meta.mat of ILSVRC2012_devkit_t12 there.'
        )
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError(
            f'{path} is a MATLAB file, which SciPy reads; install it with "pip install scipy".'
        ) from error
    try:
        synsets = loadmat(path, squeeze_me=True)['synsets']
        return {
            str(int(number)): str(synset)
            for number, synset in zip_strict(synsets['ILSVRC2012_ID'], synsets['WNID'])
        }
    # loadmat raises what its readers happen to, IndexError and struct.error among them.
    except Exception as error:
        raise UserError(
            f'{path} is not the meta.mat of ILSVRC2012_devkit_t12, or is truncated '
            f'({type(error).__name__}); unpack the devkit again.'
        ) from error
