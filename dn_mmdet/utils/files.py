"""Files and folders that are whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from .errors import UserError

__all__ = [
    'atomic_write',
    'check_output_file',
    'check_output_folder',
    'is_same_file',
    'remove_leftovers',
    'whole_folder',
    'write_json',
    'write_text',
]


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open ``path`` for writing so that it never holds a part of what is written.

    The bytes go to a file ``<name>.<8 hex digits>.tmp`` in the same folder, which replaces
    ``path`` when the block ends. If the block fails, ``path`` is as it was and the temporary file
    is gone; only a killed process leaves it (see :func:`remove_leftovers`). Several processes may
    write the same ``path``: the last one wins, whole.

    Args:
        path (str | PathLike): A local file, whose folder is made if it is not there. A symbolic
            link is followed.

    Yields:
        BinaryIO: The open temporary file.
    """
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.{uuid4().hex[:8]}.tmp')
    try:
        with open(part, 'wb') as file:
            yield file
            file.flush()
            # Without it a power cut may leave the new name on an empty file.
            os.fsync(file.fileno())
        os.replace(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: str | os.PathLike, data: Any, indent: int | None = 1) -> None:
    """Write data as JSON, whole or not at all; see :func:`atomic_write`.

    Args:
        path (str | PathLike): The file.
        data (Any): What json can write.
        indent (int, optional): Spaces for each level; None writes one line. Defaults to 1.
    """
    write_text(path, json.dumps(data, indent=indent) + '\n')


def remove_leftovers(folder: str | os.PathLike, suffix: str) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Args:
        folder (str | PathLike): Where to look; need not exist.
        suffix (str): Ending of the names that were to be written, as '.pth'.
    """
    for path in Path(folder).glob(f'*{suffix}.{"[0-9a-f]" * 8}.tmp'):
        path.unlink(missing_ok=True)


def check_output_folder(path: str | os.PathLike, source: str) -> None:
    """Check that a folder can be written to, or made; nothing is made.

    To be called before the work whose results go there.

    Args:
        path (str | PathLike): The folder.
        source (str): The option or key that names it, for the message.

    Raises:
        UserError: It, or what it would be made in, is not a folder or must not be written to.
    """
    folder = Path(os.path.abspath(path))
    there = next(part for part in (folder, *folder.parents) if part.exists())
    if not there.is_dir():
        what = 'is not a folder' if there == folder else f'cannot be made: {there} is not a folder'
        raise UserError(f'{source} {os.fspath(path)} {what}; choose another folder.')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f'{source} {os.fspath(path)} cannot be written: correct the permissions of {there}, '
            'or choose another folder.'
        )


def check_output_file(path: str | os.PathLike, source: str) -> None:
    """Check that a file can be written or replaced, as :func:`check_output_folder` does.

    Args:
        path (str | PathLike): The file.
        source (str): The option that names it, for the message.

    Raises:
        UserError: It is a folder or a device, or its folder cannot be written to.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        kind = 'a folder' if target.is_dir() else 'not a plain file'
        raise UserError(f'{source} {target} is {kind}: give the name of a file.')
    check_output_folder(os.path.dirname(os.path.realpath(target)), f'the folder of {source}')


def is_same_file(path: str | os.PathLike, other: str | os.PathLike) -> bool:
    """Whether two names are of one file, as links too; neither need be there."""
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``out`` if the body ends without an error.

    After an error or an interrupt ``out`` is as it was, and nothing else is left.

    Args:
        out (Path): Folder to make or to replace.

    Yields:
        Path: Folder to write to, a sibling of ``out``: on its file system, so that the last step
        is one rename.

    Raises:
        KeyboardInterrupt: The body was interrupted; the message says how to continue.
    """
    partial = out.with_name(f'.{out.name}.partial-{os.getpid()}')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        _swap(partial, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f'{out} is as it was; run the same command again') from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, out: Path) -> None:
    """Put ``new`` in the place of ``out``; the old folder goes only when the new one is there."""
    if not out.exists():
        os.rename(new, out)
        return
    old = out.with_name(f'.{out.name}.old-{os.getpid()}')
    os.rename(out, old)
    try:
        os.rename(new, out)
    except BaseException:
        os.rename(old, out)
        raise
    shutil.rmtree(old)
