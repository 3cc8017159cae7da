"""Predictions that tools/test.py --out wrote, read without running what a file may hold."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch

from ..engine.checkpoint_file import SAFE_GLOBALS
from ..engine.weights_only import NotAllowed, encode, named
from ..utils.errors import UserError

__all__ = ['PREDICTIONS', 'read_predictions']

# What --test writes, and what is looked for first.
PREDICTIONS = 'predictions.pkl'


def read_predictions(path: str | os.PathLike) -> list[dict]:
    """Read what mmengine's DumpResults or mmdet's DumpDetResults pickled.

    Such a file is a pickle, which may name any function to be called when it is loaded. Here it
    may name only those that make tensors, numpy arrays and dicts.

    Args:
        path (str | PathLike): A file of ``tools/test.py --out``.

    Returns:
        list[dict]: One for each image, with ``img_path`` and, of a detector, ``img_id`` and
        ``pred_instances``, of a classifier, ``gt_label`` and ``pred_score``.

    Raises:
        UserError: The file is missing or truncated, names what is not allowed, or does not hold
            predictions.
    """
    try:
        with open(path, 'rb') as file:
            content = _Unpickler(file).load()
    except NotAllowed as error:
        raise UserError(
            f'{path} is refused and none of it was run: besides predictions it contains '
            f'{error.name}, which could run code when loaded.'
        ) from error
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror}).') from error
    except Exception as error:  # what a damaged pickle raises is of any kind
        raise UserError(
            f'{path} cannot be read as predictions: it is truncated, or was not written by '
            'tools/test.py --out.'
        ) from error
    if not (
        isinstance(content, list) and content and all(isinstance(item, Mapping) for item in content)
    ):
        raise UserError(
            f'{path} does not hold predictions (a list with one dict per image) but '
            f'{_described(content)}.'
        )
    return content


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The function or class of a name that the file holds."""
        found = _ALLOWED.get(f'{module}.{name}')
        if found is None:
            raise NotAllowed(f'{module}.{name}')
        return found


def _described(content: Any) -> str:
    if isinstance(content, list):
        return 'an empty list' if not content else f'a list of {type(content[0]).__name__}'
    return f'a {type(content).__name__}'


def _storage(data: bytes) -> Any:
    """A tensor's storage; torch's own function of this place loads without weights_only."""
    return torch.load(io.BytesIO(data), weights_only=True)


# The functions and classes that a file may name.
_ALLOWED = {
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
    'torch.storage._load_from_bytes': _storage,
    '_codecs.encode': encode,
    'collections.OrderedDict': OrderedDict,
    **named(SAFE_GLOBALS),
}
# The stand-in for getattr is for checkpoints; predictions call none.
del _ALLOWED['builtins.getattr']
