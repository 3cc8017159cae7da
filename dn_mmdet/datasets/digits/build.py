"""Make the whole data set, or find that it is there."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from ...utils.errors import UserError
from ...utils.files import whole_folder, write_json
from .coco import add_scene, box_sizes, new_document
from .contact_sheet import check_picture_name, draw_contact_sheet
from .glyphs import Glyphs, load_glyphs
from .photographs import load_photographs
from .scenes import compose_crop, compose_scene
from .spec import DigitsSpec, option

__all__ = ['build_digits_coco', 'check_folder', 'write_crops', 'write_scenes', 'write_stamp']

_NAME = 'digits.json'

# Raised whenever the code changes so that the same arguments give other bytes.
_RECIPE = 1

_OURS = {_NAME, 'annotations', 'train2017', 'val2017', 'crops', 'preview.png'}

# First numbers of the random streams after the seed, so that no two images share one.
_SCENES, _CROPS = {'train': 0, 'val': 1}, {'train': 2, 'val': 3}


def build_digits_coco(
    out: str | Path,
    spec: DigitsSpec | None = None,
    force: bool = False,
    preview: str | Path | None = None,
) -> dict:
    """Write the digits as COCO, and single-digit crops in the ImageNet folder layout.

    The folder appears under its name when it is complete, and not before: ``annotations/
    instances_{train,val}2017.json``, ``{train,val}2017/*.jpg``, ``crops/{train,val}/{0..9}/*.jpg``
    and the stamp ``digits.json``. Validation has its own digits and photographs. Equal arguments
    give equal bytes (with equal versions of the packages in the stamp). A folder that already
    holds what is asked for is left as it is.

    Args:
        out (str | Path): Folder to make.
        spec (DigitsSpec, optional): What to make. Defaults to ``DigitsSpec()``.
        force (bool): Replace a data set that this tool made. Defaults to False.
        preview (str | Path, optional): Picture file for a contact sheet. Defaults to none.

    Returns:
        dict: The stamp: ``recipe``, ``arguments``, ``versions`` and ``counts``.

    Raises:
        UserError: The folder is in the way or cannot be written, or a package is missing.
    """
    spec = spec or DigitsSpec()
    # A link stays a link: what it points to is replaced.
    folder = Path(out).resolve()
    if preview is not None:
        check_picture_name(Path(preview))
    with _readable('write', out, '--out'):
        stamp = check_folder(folder, spec, force)
        found = stamp is not None
        if not found:
            stamp = _make(folder, spec)
    print(f'{out} {"is complete" if found else "has been made"}: {_summary(stamp["counts"])}.')
    if preview is not None:
        with _readable('draw', preview, '--preview'):
            draw_contact_sheet(folder, preview)
        print(f'A contact sheet is in {preview}.')
    return stamp


def _make(out: Path, spec: DigitsSpec) -> dict:
    from tqdm import tqdm

    glyphs, photographs = load_glyphs(), load_photographs()
    total = spec.train + spec.val + spec.crops_train + spec.crops_val
    counts = {}
    # The bar is drawn on a terminal only: a log file keeps the summary.
    with (
        whole_folder(out) as folder,
        tqdm(total=total, desc='digits', unit='image', disable=None) as bar,
    ):
        for split in ('train', 'val'):
            source = glyphs[split], photographs[split]
            counts[split] = write_scenes(folder, split, spec, *source, bar.update)
            counts[f'crops_{split}'] = write_crops(folder, split, spec, *source, bar.update)
        return write_stamp(folder, spec, counts)


@contextmanager
def _readable(action: str, place: str | Path, argument: str) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence about the place the user named."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'Cannot {action} {place}: {error.strerror or error}; fix that, or choose '
            f'another place with {argument}.'
        ) from error


def _summary(counts: dict) -> str:
    scenes = ', '.join(
        f'{c["images"]} images for {split} ({c["digits"]} digits: {c["small"]} small, '
        f'{c["medium"]} medium, {c["large"]} large; {c["empty"]} images empty)'
        for split, c in ((split, counts[split]) for split in ('train', 'val'))
    )
    return f'{scenes}, {counts["crops_train"]} and {counts["crops_val"]} crops'


def write_stamp(folder: Path, spec: DigitsSpec, counts: dict) -> dict:
    """Write the stamp, in one step, and return its content.

    Args:
        folder (Path): Folder of the data set.
        spec (DigitsSpec): What was made.
        counts (dict): Split to what :func:`write_scenes` counted, and the numbers of crops.

    Returns:
        dict: ``recipe``, ``arguments``, ``versions`` and ``counts``.
    """
    packages = ('numpy', 'pillow', 'scikit-learn', 'scikit-image')
    versions = {'python': platform.python_version(), **{name: version(name) for name in packages}}
    stamp = {'recipe': _RECIPE, 'arguments': asdict(spec), 'versions': versions, 'counts': counts}
    write_json(folder / _NAME, stamp, indent=2)
    return stamp


def check_folder(out: Path, spec: DigitsSpec, force: bool) -> dict | None:
    """Decide whether ``out`` is already what ``spec`` asks for.

    Args:
        out (Path): Folder of the data set.
        spec (DigitsSpec): What it should hold.
        force (bool): Whether a data set of this tool may be replaced.

    Returns:
        dict | None: The stamp of a complete data set, or None where it is to be made.

    Raises:
        UserError: ``out`` is in the way: a file, someone else's folder, or a data set made with
            other arguments or no longer complete, without ``force``.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if not out.is_dir():
        raise UserError(f'{out} is a file; choose another folder with --out.')
    stamp = _read(out)
    if force:
        strangers = sorted({entry.name for entry in out.iterdir()} - _OURS)
        if strangers:
            raise UserError(
                f'{out / strangers[0]} was not made by this tool, and --force would '
                'delete it; move it away first.'
            )
        return None
    remedy = 'pass --force to rebuild it, or choose another folder with --out.'
    changes = _changes(stamp, spec)
    if changes:
        raise UserError(f'{out} was made with {changes}; {remedy}')
    missing = _missing(out, spec)
    if missing:
        raise UserError(f'{out} is no longer complete ({missing}); {remedy}')
    return stamp


def _read(out: Path) -> dict:
    try:
        stamp = json.loads((out / _NAME).read_text())
        if not isinstance(stamp['arguments'], dict) or not isinstance(stamp['counts'], dict):
            raise TypeError
    except FileNotFoundError as error:
        raise UserError(
            f'{out} contains files that this tool did not make (there is no {_NAME}); '
            'choose another folder with --out.'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{out / _NAME} cannot be read, so what {out} contains is unknown; '
            'remove the folder, or choose another with --out.'
        ) from error
    return stamp


def _changes(stamp: dict, spec: DigitsSpec) -> str:
    """The arguments that differ, as in ``--train 3000 (asked for: 10)``; empty if none do."""
    made = stamp['arguments']
    changes = [
        f'{option(name)} {made.get(name)} (asked for: {value})'
        for name, value in asdict(spec).items()
        if made.get(name) != value
    ]
    if not changes and stamp.get('recipe') != _RECIPE:
        return 'another version of this tool'
    return ', '.join(changes)


def _missing(out: Path, spec: DigitsSpec) -> str:
    """What is gone, by counting files; empty if nothing is."""
    for split, scenes, crops in (
        ('train', spec.train, spec.crops_train),
        ('val', spec.val, spec.crops_val),
    ):
        annotations = out / 'annotations' / f'instances_{split}2017.json'
        if not annotations.is_file():
            return f'{annotations} is missing'
        for folder, pattern, expected in (
            (out / f'{split}2017', '*.jpg', scenes),
            (out / 'crops' / split, '*/*.jpg', crops),
        ):
            found = sum(1 for _ in folder.glob(pattern))
            if found != expected:
                return f'{found} of {expected} images in {folder}'
    return ''


def write_scenes(
    out: Path,
    split: str,
    spec: DigitsSpec,
    glyphs: Glyphs,
    photographs: dict[str, Image.Image],
    advance: Callable[[], object],
) -> dict:
    """Write ``{split}2017/*.jpg`` and ``annotations/instances_{split}2017.json`` below ``out``.

    Args:
        out (Path): Existing folder.
        split (str): ``'train'`` or ``'val'``.
        spec (DigitsSpec): Count, image size and seed.
        glyphs (Glyphs): Digits of the split.
        photographs (dict[str, Image.Image]): Photographs of the split, by name.
        advance (Callable[[], object]): Called after every image.

    Returns:
        dict: Number of ``images``, of ``empty`` ones, of ``digits``, and of these ``small``,
        ``medium`` and ``large``.
    """
    folder = out / f'{split}2017'
    folder.mkdir()
    document = new_document(split, spec.seed)
    for index in range(getattr(spec, split)):
        rng = np.random.default_rng([spec.seed, _SCENES[split], index])
        scene = compose_scene(glyphs, photographs, spec.image_size, rng)
        file_name = f'{index + 1:012d}.jpg'
        _save(scene.image, folder / file_name)
        add_scene(document, scene, file_name)
        advance()
    annotations = out / 'annotations' / f'instances_{split}2017.json'
    annotations.parent.mkdir(exist_ok=True)
    annotations.write_text(json.dumps(document))
    filled = {annotation['image_id'] for annotation in document['annotations']}
    images = len(document['images'])
    return dict(
        images=images,
        empty=images - len(filled),
        digits=len(document['annotations']),
        **box_sizes(document),
    )


def write_crops(
    out: Path,
    split: str,
    spec: DigitsSpec,
    glyphs: Glyphs,
    photographs: dict[str, Image.Image],
    advance: Callable[[], object],
) -> int:
    """Write ``crops/{split}/{0..9}/*.jpg`` below ``out``; the classes take turns.

    Args:
        out (Path): Existing folder.
        split (str): ``'train'`` or ``'val'``.
        spec (DigitsSpec): Count, crop size and seed.
        glyphs (Glyphs): Digits of the split.
        photographs (dict[str, Image.Image]): Photographs of the split, by name.
        advance (Callable[[], object]): Called after every crop.

    Returns:
        int: How many were written.
    """
    # Every class gets its folder, even if fewer than ten crops are asked for: the sorted names of
    # the folders are the classes.
    folders = [out / 'crops' / split / str(label) for label in range(10)]
    for folder in folders:
        folder.mkdir(parents=True)
    count = getattr(spec, f'crops_{split}')
    for index in range(count):
        rng = np.random.default_rng([spec.seed, _CROPS[split], index])
        crop = compose_crop(glyphs, photographs, index % 10, spec.crop_size, rng)
        _save(crop, folders[index % 10] / f'{index:06d}.jpg')
        advance()
    return count


def _save(image: np.ndarray, file: Path) -> None:
    Image.fromarray(image).save(file, quality=92)
