"""Reading arrays from the files that Keras users have: .npz and .h5, without Keras."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..utils.errors import UserError

__all__ = ['SUFFIXES', 'read_keras']

SUFFIXES = ('.npz', '.h5', '.hdf5')


def read_keras(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read all arrays of numbers of a file; nothing in it is run.

    Args:
        path (str | PathLike): Ends in one of :data:`SUFFIXES`.

    Returns:
        dict[str, Tensor]: The names, with slashes between groups, to the arrays.

    Raises:
        UserError: It is missing, damaged or holds no arrays of numbers, or h5py is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise UserError(f'the weights {path} {what}: check the path.')
    try:
        arrays = _read_npz(path) if path.suffix.lower() == '.npz' else _read_h5(path)
        tensors = {
            # In the byte order of this machine, which is all that torch knows.
            name: torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder('=')))
            for name, array in arrays.items()
            if array.dtype.kind in 'fiu'
        }
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f'{path} cannot be read as {path.suffix}: it is truncated, or holds something other '
            'than arrays of numbers. Copy or create it again.'
        ) from error
    if not tensors:
        raise UserError(f'{path} holds no arrays of numbers: give a file with weights.')
    return tensors


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError('a zip file of something else, as a checkpoint of torch')
    return arrays


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise UserError(
            f'reading {path} needs the package h5py, which is not installed: run `pip install '
            'h5py` in this environment, or save the same names and arrays with numpy.savez.'
        ) from error
    found = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with h5py.File(path, 'r') as file:
        file.visititems(take)
    return found
