"""The stamp ``digits.json``: what a folder was made with, written when all the rest is there."""

import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from dn_mmdet.engine.errors import UserError

from .spec import DigitsSpec, option

__all__ = ['check_folder', 'write_stamp']

_NAME = 'digits.json'
# Raised whenever the code changes so that the same arguments give other bytes.
_RECIPE = 1
_OURS = {_NAME, 'annotations', 'train2017', 'val2017', 'crops', 'preview.png'}


def write_stamp(folder: Path, spec: DigitsSpec, counts: dict) -> dict:
    """Write the stamp, in one step, and return its content."""
    packages = ('numpy', 'pillow', 'scikit-learn', 'scikit-image')
    versions = {'python': platform.python_version(), **{name: version(name) for name in packages}}
    stamp = {'recipe': _RECIPE, 'arguments': asdict(spec), 'versions': versions, 'counts': counts}
    temporary = folder / (_NAME + '.tmp')
    temporary.write_text(json.dumps(stamp, indent=2) + '\n')
    os.replace(temporary, folder / _NAME)
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
    remedy = 'pass --force to make it anew, or choose another folder with --out.'
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
            f'{out} holds something that this tool did not make (there is no {_NAME}); '
            'choose another folder with --out.'
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{out / _NAME} cannot be read, so it is not known what {out} holds; '
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
