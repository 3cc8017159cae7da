"""mmengine's writing to local files, made atomic: checkpoints, dumps, results."""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import register_backend
from mmengine.fileio.backends import LocalBackend

from ..utils.files import atomic_write

__all__ = ['AtomicLocalBackend', 'use_atomic_writes']


class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with atomic ``put`` and ``put_text``."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see ``dn_mmdet.utils.files.atomic_write``."""
        with atomic_write(filepath) as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text, in an encoding that defaults to UTF-8; as :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def use_atomic_writes() -> None:
    """Make every local write of mmengine in this process atomic."""
    register_backend('local', AtomicLocalBackend, prefixes='', force=True)


# Under a name of its own too, for a configuration that asks for it (`backend_args`).
register_backend('atomic', AtomicLocalBackend, force=True)
