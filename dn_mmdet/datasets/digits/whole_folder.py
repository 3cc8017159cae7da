"""A folder that appears under its name complete, or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['whole_folder']


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``out`` if the body ends without an error.

    After an error or an interrupt ``out`` is as it was, and nothing else is left.

    Args:
        out (Path): Folder to make or to replace.

    Yields:
        Path: Folder to write to, a sibling of ``out``: on its file system, so that the last step
        is one rename.
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
