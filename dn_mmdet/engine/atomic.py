"""Files that are whole or not there: written under a temporary name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend

__all__ = ['AtomicLocalBackend', 'atomic_write', 'remove_leftovers', 'use_atomic_writes']


@contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open ``path`` for writing so that it never holds a part of what is written.

    The bytes go to a file ``<name>.<8 hex digits>.tmp`` in the same folder, which replaces
    ``path`` when the block ends. If the block fails, ``path`` is as it was and the temporary file
    is gone; only a killed process leaves it (see :func:`remove_leftovers`). Several processes may
    write the same ``path``: the last one wins, whole.

    Args:
        path (str | PathLike): A local file. A symbolic link is followed.

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


def remove_leftovers(folder: str | os.PathLike, suffix: str) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Args:
        folder (str | PathLike): Where to look; need not exist.
        suffix (str): Ending of the names that were to be written, as '.pth'.
    """
    for path in Path(folder).glob(f'*{suffix}.{"[0-9a-f]" * 8}.tmp'):
        path.unlink(missing_ok=True)


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with atomic ``put`` and ``put_text``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`atomic_write`."""
        with atomic_write(filepath) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :func:`atomic_write`."""
        self.put(obj.encode(encoding), filepath)


def use_atomic_writes() -> None:
    """Make every local write of mmengine in this process atomic: checkpoints, dumps, results."""
    register_backend('local', AtomicLocalBackend, prefixes='', force=True)


# Under a name of its own too, for a configuration that asks for it (`backend_args`).
register_backend('atomic', AtomicLocalBackend, force=True)
