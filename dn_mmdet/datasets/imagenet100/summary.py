"""The summary ``imagenet100.json``: what the lists were made with, written after them."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dn_mmdet.engine.atomic import atomic_write
from dn_mmdet.engine.errors import UserError

from .lists import FILES

__all__ = ['NAME', 'PROGRESS', 'check_out', 'write_summary']

NAME = 'imagenet100.json'
PROGRESS = '.imagenet100_check.json'


def check_out(out: Path, arguments: Mapping[str, Any], force: bool) -> dict | None:
    """Decide whether ``out`` already holds what is asked for.

    Args:
        out (Path): Folder of the lists.
        arguments (Mapping[str, Any]): What they should be made with.
        force (bool): Whether lists of this tool may be replaced.

    Returns:
        dict | None: The summary of complete lists, or None where they are to be made.

    Raises:
        UserError: ``out`` is a file, holds lists of others, or, without ``force``, lists made with
            other arguments or no longer complete.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file; choose another folder with --out.')
    there = [name for name in FILES if (out / name).exists()]
    if not (out / NAME).exists():
        # The images' folder may be full of lists: a val.txt of Caffe's must survive.
        if there and not (out / PROGRESS).exists():
            raise UserError(
                f'{out / there[0]} was not made by this tool, which would replace it; '
                'choose another folder with --out.'
            )
        return None
    if force:
        return None
    remedy = 'pass --force to make them anew, or choose another folder with --out.'
    try:
        summary = json.loads((out / NAME).read_text())
        made = summary['arguments']
        changes = [
            f'--{name.replace("_", "-")} {made.get(name)} (asked for: {value})'
            for name, value in arguments.items()
            if made.get(name) != value
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{out / NAME} cannot be read, so it is not known what the lists beside it '
            f'are; {remedy}'
        ) from error
    if changes:
        raise UserError(f'The lists in {out} were made with {", ".join(changes)}; {remedy}')
    if len(there) < len(FILES):
        missing = next(name for name in FILES if name not in there)
        raise UserError(
            f'The lists in {out} are no longer complete ({missing} is missing); {remedy}'
        )
    return summary


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary, which says that the lists are whole; the check's progress may go now."""
    with atomic_write(out / NAME) as file:
        file.write((json.dumps(summary, indent=2) + '\n').encode())
    (out / PROGRESS).unlink(missing_ok=True)
    # Named only by processes that were killed.
    for leftover in out.glob(f'{PROGRESS}.*.tmp'):
        os.unlink(leftover)
