"""``torch.load(weights_only=True)`` for torch before 2.6, as safe as that of today.

There it cannot be told what else to allow (before 2.4) or under which name (before 2.6), and it
runs what a TorchScript archive holds. Here are its list of what makes tensors, in an unpickler that
calls nothing else, and what is added to the list.
"""

from __future__ import annotations

import functools
import os
import pickle
import tarfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch._weights_only_unpickler import _get_allowed_globals

__all__ = ['NotAllowed', 'allow_globals', 'encode', 'named']

FORCED = ('1', 'y', 'yes', 'true')


class NotAllowed(pickle.UnpicklingError):
    """A name in a pickle that is not on the list, told as torch does.

    Args:
        name (str): With its module.
    """

    def __init__(self, name: str):
        super().__init__(f'Unsupported global: GLOBAL {name} was not an allowed global by default.')
        self.name = name


def allow_globals(allowed: Iterable[Any]) -> None:
    """What ``torch.serialization.add_safe_globals`` of torch 2.6 does.

    Every ``torch.load`` of this process with ``weights_only``, given or forced by the environment,
    then takes the unpickler of this module, and refuses TorchScript and tar archives.

    Args:
        allowed (Iterable): Functions and classes, or pairs of one and the name that it replaces.
            Objects of the classes may be given a state by the file.
    """
    _allowed.update(named(allowed))
    module = torch.serialization
    if module._weights_only_unpickler is not _WeightsOnly:
        module._weights_only_unpickler = _WeightsOnly
        module.load = torch.load = _refusing_archives(torch.load)


def named(allowed: Iterable[Any]) -> dict[str, Any]:
    """Name in a pickle to what stands for it, of what :func:`allow_globals` takes."""
    pairs = (
        item if isinstance(item, tuple) else (item, f'{item.__module__}.{item.__qualname__}')
        for item in allowed
    )
    return {name: item for item, name in pairs}


def encode(text: str, encoding: str) -> bytes:
    """The bytes in a pickle of protocol 2; a codec may be code, latin-1 is not."""
    if encoding != 'latin1':
        raise NotAllowed(f'_codecs.encode to {encoding}')
    return text.encode('latin1')


# Dtypes and classes of tensors that torch 2.1 leaves out of its list.
_allowed: dict[str, Any] = {
    '_codecs.encode': encode,
    'builtins.set': set,
    'torch.device': torch.device,
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
}


class _Unpickler(pickle._Unpickler):
    """Calls nothing but what is on the list, and gives a state only to what is made of it."""

    dispatch = dict(pickle._Unpickler.dispatch)
    for code in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.PERSID),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
    ):
        del dispatch[code[0]]

    def find_class(self, module: str, name: str) -> Any:
        """The function or class of a name that the file holds."""
        known = {**_get_allowed_globals(), **_allowed}
        if self.proto < 3:  # The names are those of Python 2.
            module, name = NAME_MAPPING.get((module, name), (module, name))
            module = IMPORT_MAPPING.get(module, module)
        if f'{module}.{name}' not in known:
            raise NotAllowed(f'{module}.{name}')
        return known[f'{module}.{name}']

    def load_binpersid(self) -> None:
        """Read a storage."""
        number = self.stack[-1]
        if isinstance(number, tuple) and number[:1] not in (('storage',), (b'storage',)):
            raise pickle.UnpicklingError(f'expected the number of a storage, got {number[:1]!r}')
        super().load_binpersid()

    def load_reduce(self) -> None:
        """Call a function of the list."""
        self._check_callable(self.stack[-2])
        super().load_reduce()

    def load_newobj(self) -> None:
        """Make an object of a class of the list."""
        self._check_callable(self.stack[-2])
        super().load_newobj()

    def load_build(self) -> None:
        """Give a state to an object, and never to a class or a function."""
        kind = type(self.stack[-2])
        if not issubclass(kind, (torch.Tensor, np.dtype)) and kind is not OrderedDict:
            self._check_callable(kind)
        super().load_build()

    def _check_callable(self, function: Any) -> None:
        known = (*_allowed.values(), *_get_allowed_globals().values())
        if not any(function is item for item in known):
            raise NotAllowed(
                f'{getattr(function, "__module__", "?")}.{getattr(function, "__qualname__", "?")}'
            )

    dispatch[pickle.BINPERSID[0]] = load_binpersid
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.BUILD[0]] = load_build


class _WeightsOnly:
    """What torch wants of a module of this kind."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _Unpickler(file, **options).load()


def _refusing_archives(load: Any) -> Any:
    @functools.wraps(load)
    def checked(f: Any, *args: Any, weights_only: bool | None = None, **options: Any) -> Any:
        forced = os.getenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0').lower() in FORCED
        if not (weights_only or forced):
            return load(f, *args, weights_only=False, **options)
        with torch.serialization._open_file_like(f, 'rb') as file:
            _check_archive(file)
            # Only a name can be mapped.
            given = f if options.get('mmap') else file
            return load(given, *args, weights_only=True, **options)

    return checked


def _check_archive(file: Any) -> None:
    """Refuse what torch does not read with its unpickler, or unpacks to disk."""
    module = torch.serialization
    start, what = file.tell(), ''
    if module._is_zipfile(file):
        with module._open_zipfile_reader(file) as archive:
            what = 'TorchScript' if module._is_torchscript_zip(archive) else ''
    elif tarfile.is_tarfile(file):
        what = 'tar'
    file.seek(start)
    if what:
        raise pickle.UnpicklingError(f'weights_only does not read {what} archives')
