"""Reading a checkpoint file that nobody vouches for: its tensors, and none of its code."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import warnings
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import CheckpointLoader, checkpoint
from torch import Tensor

from ..layers.state import rekeyed
from ..utils.errors import UserError
from ..weights import find_weights
from ..weights.keras_files import SUFFIXES
from .weights_only import allow_globals, named

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # numpy 1
    from numpy.core.multiarray import _reconstruct, scalar


__all__ = [
    'SAFE_GLOBALS',
    'damage',
    'force_weights_only',
    'is_remote',
    'meta_of',
    'read_checkpoint',
    'refusal',
    'register_safe_globals',
    'state_dict_of',
]


def _statistics_method(owner: type, name: str) -> Callable:
    """Stand in for the `getattr` that a pickled HistoryBuffer calls.

    A HistoryBuffer is saved with its table of methods, each as ``getattr(HistoryBuffer, 'mean')``.
    The real getattr would give a file a way to every function of every class it can name.
    """
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(owner, name)
    raise UnpicklingError(
        f'Unsupported global: GLOBAL builtins.getattr of {owner!r}, {name!r} was not an allowed '
        'global by default.'
    )


# The message hub in a checkpoint holds the history of losses (HistoryBuffer: arrays of float64
# and int64) and best scores, which may be numpy scalars. All of these make data and call nothing
# that the file names. numpy 1 and 2 give _reconstruct and scalar different homes, and so do the
# checkpoints that they wrote.
SAFE_GLOBALS = [
    HistoryBuffer,
    # What the command line of torchvision's and timm's training scripts becomes.
    Namespace,
    (_statistics_method, 'builtins.getattr'),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(kind)) for kind in '?bhilBfde'),
    (_reconstruct, 'numpy._core.multiarray._reconstruct'),
    (_reconstruct, 'numpy.core.multiarray._reconstruct'),
    (scalar, 'numpy._core.multiarray.scalar'),
    (scalar, 'numpy.core.multiarray.scalar'),
]
# Their names, and those that a pickle of protocol 2 has for them.
SAFE_NAMES = {*named(SAFE_GLOBALS), '__builtin__.getattr', '_codecs.encode'}

# Names that every file of tensors has; torch's own list of them is not public.
OF_TENSORS = re.compile(
    r'torch\.\w+|torch\.(_utils|_tensor|storage|nn\.parameter)\.\w+|collections\.\w+'
)


def read_checkpoint(path: str, source: str, remedy: str = 'check the path') -> Mapping:
    """Load a checkpoint to CPU without running any code that it holds.

    Args:
        path (str): A local file, or an address that mmengine's CheckpointLoader knows.
        source (str): The argument or configuration key that names the file, for messages.
        remedy (str): What to do if the file is not there, without the period. Defaults to
            'check the path'.

    Returns:
        Mapping: What the file holds.

    Raises:
        UserError: The file is missing, truncated or not a checkpoint, or would run code.
    """
    register_safe_globals()
    if is_remote(path):
        return _as_mapping(_fetch(path, source), path)
    local = os.path.expanduser(path)
    if not os.path.isfile(local):
        what = 'is a folder' if os.path.isdir(local) else 'does not exist'
        raise UserError(f'the checkpoint {path} of {source} {what}: {remedy}.')
    if local.lower().endswith(SUFFIXES):
        raise UserError(
            f'{path} of {source} is not a checkpoint of torch: if it holds weights of Keras, '
            'convert it with `python tools/model_converters/bn_to_dnb.py CONFIG '
            f'{path}`, which says how to use what it writes.'
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            # Explicit: the environment can switch the default off, but not this.
            content = torch.load(local, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not its own
        raise UserError(
            refusal(error, local)
            or (
                f'{path} cannot be read as a checkpoint: it is truncated, or was not written by '
                'torch.save. Copy or create it again.'
            )
        ) from error
    return _as_mapping(content, path)


def damage(path: str) -> str:
    """What a file of torch.save shows to have been damaged; its hashes, no name, tell.

    Args:
        path (str): A local file.

    Returns:
        str: Such as 'it is empty'; '' for a file that is whole, and for one of torch before 1.6,
        which holds no hashes.
    """
    with open(path, 'rb') as file:
        head = file.read(4)
    if not head:
        return 'it is empty'
    if head != b'PK\x03\x04':
        return '' if head[:1] == pickle.PROTO else 'it is torn'
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
    ):
        return 'it is torn'
    return f'the hash of {bad} differs' if bad else ''


def meta_of(checkpoint: Mapping) -> Mapping:
    """What a checkpoint says of itself; empty where it says nothing.

    Args:
        checkpoint (Mapping): What :func:`read_checkpoint` returned.
    """
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, Mapping) else {}


def state_dict_of(checkpoint: Mapping, path: str) -> dict[str, Tensor]:
    """The weights in a checkpoint, without the ``module.`` of DistributedDataParallel.

    Args:
        checkpoint (Mapping): What :func:`read_checkpoint` returned.
        path (str): The file, for the message.

    Returns:
        dict[str, Tensor]: Key to weights, with the metadata of the layers.

    Raises:
        UserError: There are none.
    """
    state = checkpoint.get('state_dict', checkpoint)
    place, _ = find_weights(checkpoint)
    if place and ('state_dict' not in checkpoint or place.startswith('state_dict.')):
        raise UserError(
            f'{path} has its weights under {place!r}, where mmengine looks for a state_dict: '
            f'convert it with `python tools/model_converters/bn_to_dnb.py CONFIG {path}` (with '
            '--keep-bn for a model with BatchNorm), which says how to use what it writes.'
        )
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f'{path} holds no weights: it has neither a state_dict nor tensors.')
    odd = [key for key in state if not isinstance(key, str)]
    if odd:
        raise UserError(
            f'{path} has {odd[0]!r} among the keys of its weights, which must be texts.'
        )
    return rekeyed(state, lambda key: key.removeprefix('module.'))


def register_safe_globals() -> None:
    """Let checkpoints that mmengine wrote load with torch's ``weights_only`` left on.

    Adds ``SAFE_GLOBALS`` to torch's allow-list, for the whole process. Calling it again
    changes nothing. In OneDL's mmengine, whose loader has a list of its own, the loader is
    replaced: it would allow the real ``getattr``, take its list away from torch's afterwards, and
    load without ``weights_only`` what the list does not cover.
    """
    # torch 2.4 and 2.5 have a list, without names.
    if hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
        torch.serialization.add_safe_globals(SAFE_GLOBALS)
    else:
        allow_globals(SAFE_GLOBALS)
    if hasattr(checkpoint, '_safe_torch_load'):
        checkpoint._safe_torch_load = _load


def refusal(error: BaseException, path: str) -> str | None:
    """The sentence for a file that names what is not allowed.

    Args:
        error (BaseException): What loading it raised.
        path (str): The file, or '' where it is not known.

    Returns:
        str | None: The sentence, or None if loading failed for another reason.
    """
    names = re.findall(r"(?:GLOBAL |but got <class ')([\w.]+)", str(error))
    if not names and os.path.isfile(path):
        names = _foreign_names(path)
    if not names:
        return None
    return (
        f'{path} is refused and none of it was run: besides tensors it contains {names[0]}, which '
        'could run code when loaded. Use a checkpoint that this package or mmdet saved, or '
        'have its author save only the weights (the state_dict).'
    )


def force_weights_only() -> None:
    """Make every ``torch.load`` of this process and its workers keep ``weights_only`` on.

    Files that are fetched from an address are loaded by torch.hub, and by the onedl fork of
    mmengine, with the safety off otherwise.
    """
    os.environ.pop('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', None)
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'


def is_remote(path: str) -> bool:
    """Whether a checkpoint's name is an address (``https://``, ``torchvision://``), not a file."""
    return re.match(r'[\w-]+(:[\w-]+)*://', path) is not None


def _fetch(path: str, source: str) -> Any:
    force_weights_only()
    try:
        return CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            refusal(error, path) or (f'{path} of {source} cannot be read as a checkpoint.')
        ) from error
    except ModuleNotFoundError as error:  # torchvision knows where torchvision:// leads
        way = f' with --cfg-options {source}.checkpoint=FILE' if 'init_cfg' in source else ''
        raise UserError(
            f'{path} of {source} needs {error.name}: install it, or download the file and give '
            f'it{way}.'
        ) from error
    except (OSError, KeyError, ImportError) as error:  # URLError is an OSError
        raise UserError(
            f'{path} of {source} cannot be fetched ({error}): download it in another '
            'way and give the file.'
        ) from error


def _as_mapping(content: Any, path: str) -> Mapping:
    if not isinstance(content, Mapping):
        raise UserError(
            f'{path} is not a checkpoint, which would be a dict with a state_dict: it holds one '
            f'value of the type {type(content).__name__}.'
        )
    return content


def _foreign_names(path: str) -> list[str]:
    """Names that the pickle in a file refers to and torch does not allow; nothing is loaded."""
    with suppress(Exception):
        return torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # It reads neither the files of torch before 1.6 and bare pickles, nor another pickle protocol
    # than that of torch.save.
    try:
        with zipfile.ZipFile(path) as archive:
            member = next(n for n in archive.namelist() if n.rpartition('/')[2] == 'data.pkl')
            data = archive.read(member)
    except (zipfile.BadZipFile, StopIteration):
        with open(path, 'rb') as file:
            data = file.read(2**24)
    found, texts = [], []
    with suppress(Exception):  # no pickle, or a part of one: what was found so far stands
        for op, arg, _ in pickletools.genops(data):
            if isinstance(arg, str):
                texts.append(arg)
            if op.name in ('GLOBAL', 'INST'):
                found.append(arg.replace(' ', '.'))
            elif op.name == 'STACK_GLOBAL':
                found.append('.'.join(texts[-2:]))
    # What is no pickle may look as if it named nothing.
    named_ones = filter(None, found)
    return [n for n in named_ones if not OF_TENSORS.fullmatch(n) and n not in SAFE_NAMES]


def _load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    return torch.load(file, map_location=map_location, weights_only=weights_only is not False)
