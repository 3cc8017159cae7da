"""From a file and a command line to a configuration: overrides, work folder, what to resume."""

from __future__ import annotations

import argparse
import ast
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from numbers import Number
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from ..utils.errors import UserError
from ..utils.text import error_line, error_text, first_few
from .checkpoint_file import damage
from .config_text import literal
from .data_root import use_data_root
from .option_keys import check_option_keys, value_at
from .preflight.registries import dicts_in

__all__ = ['CfgOptions', 'choose_resume', 'load_config']


def load_config(
    path: str,
    options: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    launcher: str = 'none',
) -> Config:
    """Read a configuration file, apply overrides and choose the work folder.

    Args:
        path (str): A .py, .json or .yaml configuration of mmengine.
        options (Mapping, optional): Dotted key to value, what ``--cfg-options`` gave. The key
            ``data_root`` alone puts all data of the file into that folder.
        work_dir (str, optional): Defaults to the configuration's own ``work_dir``, and without one
            to ``./work_dirs/<name of the file>``, as in mmdet.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to 'none'.

    Returns:
        Config: With ``work_dir`` and ``launcher`` set.

    Raises:
        UserError: The file is missing or cannot be read, or an option does not fit it or would
            change nothing.
    """
    cfg = _read(path)
    if options:
        check_option_keys(cfg, options, path)
        _check_options(cfg, options, path)
        if 'data_root' in options:
            use_data_root(cfg, options['data_root'])
        try:
            cfg.merge_from_dict(dict(options))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f'--cfg-options do not fit {path}: {_text(error)}') from error
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(path).stem)
    return cfg


def choose_resume(cfg: Config, resume: str | None) -> list[str]:
    """Set ``resume`` and ``load_from`` of a configuration as ``--resume`` asks.

    For 'auto' the file ``last_checkpoint`` in the work folder names the checkpoint; where that
    path is gone because the folder was moved, the file of the same name in the folder is taken.
    Where the file is torn or otherwise damaged, the one before it is taken. Without
    ``last_checkpoint`` the run begins at the start, as in mmdet.

    Args:
        cfg (Config): Changed in place; ``work_dir`` is final.
        resume (str, optional): A checkpoint, 'auto', or None to leave the configuration's choice.

    Returns:
        list[str]: Notes for the log.

    Raises:
        UserError: ``last_checkpoint`` names a file that no longer exists, or no file is whole, or
            the one that was given is not.
    """
    note = ''
    if resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    path = cfg.get('load_from')
    if cfg.get('resume') and path and os.path.isfile(path) and (fault := damage(path)):
        raise UserError(
            f'{path} of --resume is damaged ({fault}): give an earlier checkpoint, or --resume '
            'alone, which finds the last one that is whole.'
        )
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from, note = _latest(cfg.work_dir)
        # Without a checkpoint mmengine would look for one again, by its own rules.
        cfg.resume = cfg.load_from is not None
    return [note] if note else []


class CfgOptions(DictAction):
    """argparse action for ``--cfg-options KEY=VALUE ...``."""

    @classmethod
    def add_to(
        cls, parser: argparse.ArgumentParser, what: str = 'settings of the configuration'
    ) -> None:
        """Give a parser the option, with the help of tools other than train.py and test.py.

        Args:
            parser (argparse.ArgumentParser): Of a tool, or a group of one.
            what (str): That is overridden. Defaults to 'settings of the configuration'.
        """
        parser.add_argument(
            '--cfg-options',
            nargs='+',
            action=cls,
            metavar='KEY=VALUE',
            help=f'override {what}, as for tools/train.py',
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """As mmengine's, but what is not KEY=VALUE is a usage error, not a traceback."""
        for item in values:
            if not item.partition('=')[0] or '=' not in item:
                raise argparse.ArgumentError(self, f'{item!r} is not of the form KEY=VALUE')
        try:
            super().__call__(parser, namespace, values, option_string)
        except AssertionError as error:
            raise argparse.ArgumentError(self, str(error)) from error

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """As mmengine's, and a value that is a dict, or has one, as a configuration writes it."""
        if 'dict(' not in val and not val.lstrip().startswith('{'):
            return DictAction._parse_iterable(val)
        try:
            return literal(ast.parse(val.strip(), mode='eval').body)
        except (SyntaxError, ValueError) as error:
            raise AssertionError(
                f'{val!r} cannot be read: write it as a configuration does, with '
                'quotation marks, as in "[dict(type=\'AffineHook\')]"'
            ) from error


def _read(path: str) -> Config:
    if not os.path.isfile(path):
        raise UserError(
            f'there is no configuration file {path}: check the path, which is relative to '
            f'{os.getcwd()}.'
        )
    try:
        cfg = Config.fromfile(path)
        # Of a configuration in pure Python this imports what its types name.
        for _ in dicts_in(cfg, ''):
            pass
        return cfg
    except SyntaxError as error:
        raise UserError(
            f'{path}, or a base of it, is not valid Python at line {error.lineno}: {error.msg}.'
        ) from error
    # The file is a program: whatever it raises is the file's mistake, or its author's.
    except Exception as error:
        cause = error.__cause__ if isinstance(error, ImportError) and error.__cause__ else error
        raise UserError(
            f'{path} cannot be read as a configuration: {_text(cause).rstrip(".")}'
            f'{_missing_package(cause)}.'
        ) from error


def _missing_package(error: BaseException) -> str:
    """What to do where ``custom_imports`` names a package that is not there."""
    name = re.match(r'Failed to import ([\w.]+)$', error_text(error))
    package = name and name[1].partition('.')[0]
    if not package or find_spec(package) is not None:
        return ''
    return f', since the package {package} is not installed: install it, or correct custom_imports'


def _check_options(cfg: Config, options: Mapping[str, Any], path: str) -> None:
    for key, value in options.items():
        old = value_at(cfg, key)
        if isinstance(old, Number) and not isinstance(old, bool) and isinstance(value, str):
            raise UserError(
                f'--cfg-options {key}={value}: {key} is a number in {path}, {old}; give a number.'
            )
        if isinstance(old, dict) and isinstance(value, (str, Number)):
            raise UserError(
                f'--cfg-options {key}={value}: {key} is a dict in {path}; set a key '
                f'in it, as in {key}.{next(iter(old), "type")}={value}.'
            )


def _text(error: BaseException) -> str:
    """An exception in one line, the class first where the message alone says too little."""
    message = error_text(error, limit=300)
    return message if len(message.split()) > 3 else error_line(error)


def _latest(work_dir: str) -> tuple[str | None, str]:
    """The checkpoint to continue from, and what there is to say about it."""
    pointer = os.path.join(work_dir, 'last_checkpoint')
    if not os.path.isfile(pointer):
        return None, ''
    with open(pointer, encoding='utf-8', errors='replace') as file:
        path = file.read().strip()
    # The folder may have been moved.
    moved = os.path.join(work_dir, os.path.basename(path)) if path else ''
    named = next((candidate for candidate in (path, moved) if os.path.isfile(candidate)), None)
    folder = os.path.dirname(named or moved) or work_dir
    numbers = {
        os.path.join(folder, name): int(found[1])
        for name in (os.listdir(folder) if os.path.isdir(folder) else ())
        if (found := re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', name))
    }
    left = sorted(numbers, key=numbers.get, reverse=True)
    if named is None:
        names = first_few([os.path.basename(other) for other in left])
        choice = f'one of those in {work_dir}: {names}' if left else 'a checkpoint'
        raise UserError(
            f'{pointer} names the checkpoint {path!r}, which no longer exists: continue with '
            f'--resume and {choice}, or remove {pointer} to start over.'
        )
    if not (fault := damage(named)):
        return named, ''
    whole = next((other for other in left if other != named and not damage(other)), None)
    if whole is None:
        raise UserError(
            f'{named}, the last checkpoint, is damaged ({fault}), and {folder} has no other '
            f'epoch_N.pth or iter_N.pth that is whole: copy it again, or remove {pointer} to '
            'start over.'
        )
    return whole, f'{named} is damaged ({fault}): the run continues from {whole} instead.'
