"""An image that does not load names itself, in the run's own process and in its workers."""

from __future__ import annotations

import os
from functools import wraps

from mmcv.transforms import LoadImageFromFile

from ..utils.errors import UserError

__all__ = ['name_bad_images']


def name_bad_images() -> None:
    """Make ``LoadImageFromFile`` raise a :class:`UserError` for a file that does not load.

    What the decoders raise does not name the file, and of an exception in a worker process only a
    text is left. Workers that are forked take this over from the process that calls it.
    """
    plain = LoadImageFromFile.transform
    if hasattr(plain, '__wrapped__'):
        return

    @wraps(plain)
    def transform(self: LoadImageFromFile, results: dict) -> dict | None:
        try:
            return plain(self, results)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            path = results.get('img_path')
            if path is None:
                raise
            # mmengine's data sets number their items; others have been given the image by hand.
            way = 'remove it from the annotations' if 'sample_idx' in results else 'leave it out'
            raise UserError(
                f'{path} cannot be loaded as an image: {_reason(error, path, self)}. Replace it, '
                f'or {way}.'
            ) from error

    LoadImageFromFile.transform = transform


def _reason(error: Exception, path: str, loader: LoadImageFromFile) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return 'the file is empty'
    return f'it is damaged, or of a format that {loader.imdecode_backend} does not decode'
