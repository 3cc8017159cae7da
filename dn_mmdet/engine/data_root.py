"""Another data folder for a whole configuration: what ``--cfg-options data_root=FOLDER`` does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from mmengine.config import Config

from ..utils.errors import UserError
from ..utils.text import first_few
from .preflight.registries import dicts_in

__all__ = ['use_data_root']

PARTS = ('train', 'val', 'test')


def use_data_root(cfg: Config, root: Any) -> None:
    """Put all data of a configuration into another folder.

    In a file of mmengine ``data_root`` is a variable: its value has gone into data sets and
    evaluators when the file has been read, so that setting the key alone would change nothing.
    Here every path of the loaders and evaluators below the old folder goes below the new one.

    Args:
        cfg (Config): Changed in place, but for its key ``data_root``.
        root (Any): The new folder.

    Raises:
        UserError: It is not text, or it is not clear which folder it takes the place of.
    """
    if not isinstance(root, str):
        raise UserError(
            f'--cfg-options data_root={root}: the value is read as {root!r}, which is not text: '
            f'write data_root=./{root}.'
        )
    old = _old_root(cfg)
    for part in PARTS:
        for place in (f'{part}_dataloader', f'{part}_evaluator'):
            if cfg.get(place) is not None:
                cfg[place] = _moved(cfg[place], old, root, place.endswith('evaluator'))


def _old_root(cfg: Config) -> str:
    """The folder of the data: ``data_root`` where it is in use, else that of all data sets."""
    roots = sorted({root for part in PARTS for root in _roots(cfg.get(f'{part}_dataloader'))})
    stated = cfg.get('data_root')
    if isinstance(stated, str) and any(_below(root, stated) is not None for root in roots):
        return stated
    if len({os.path.normpath(root) for root in roots}) == 1:
        return roots[0]
    if not roots:
        raise UserError(
            f'--cfg-options data_root: no data set of {cfg.filename} has a data_root: set the '
            'paths one by one, as in train_dataloader.dataset.ann_file=FILE.'
        )
    raise UserError(
        f'--cfg-options data_root: the data sets of {cfg.filename} have several folders, '
        f'{first_few(roots)}: set them one by one, as in train_dataloader.dataset.data_root=FOLDER.'
    )


def _roots(loader: Any) -> Iterator[str]:
    for _, part in dicts_in(loader, 'loader'):
        if isinstance(part.get('data_root'), str):
            yield part['data_root']


def _moved(node: Any, old: str, new: str, files: bool, key: Any = None) -> Any:
    """A part of a configuration with its paths below another folder.

    Args:
        node (Any): The part.
        old (str): The folder that it is below.
        new (str): The other one.
        files (bool): Whether files in it are relative to the working directory, as those of an
            evaluator are, and not to the folder of the data.
        key (Any): Of the node in the dict that it is in.
    """
    if isinstance(node, Mapping):
        # A copy, since one dict may stand in several places, and has to be moved once.
        copied = copy(node)
        for name, inner in node.items():
            if (moved := _moved(inner, old, new, files, name)) is not inner:
                copied[name] = moved
        return copied
    if isinstance(node, (list, tuple)):
        return type(node)(_moved(inner, old, new, files) for inner in node)
    if isinstance(node, str):
        # Below the working directory is whatever is relative, names of types too.
        everything = os.path.normpath(old) == '.'
        if everything and key != 'data_root' and not (files and key == 'ann_file'):
            return node
        if (rest := _below(node, old)) is not None:
            path = os.path.join(new, rest) if rest else new
            return os.path.join(path, '') if node.endswith('/') else path
    return node


def _below(path: str, folder: str) -> str | None:
    """A path relative to a folder that it is in, '' for the folder itself, else None."""
    path, folder = os.path.normpath(path), os.path.normpath(folder)
    if path == folder:
        return ''
    if folder == '.':
        return None if os.path.isabs(path) else path
    return path[len(folder) + 1 :] if path.startswith(folder.rstrip('/') + '/') else None
