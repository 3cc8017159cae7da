"""A run's configuration, read as text: compared and built from without running any of it.

mmengine turns a configuration into a Config by executing it, which a file from elsewhere must not
get. What ``Config.dump`` saves with a log is complete and made of literals alone.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from ..engine.config_text import literal, statements
from ..utils.errors import UserError
from ..utils.python39 import zip_strict

__all__ = [
    'ABSENT',
    'ConfigDifference',
    'Source',
    'differences',
    'effective',
    'is_expected',
    'literal_config',
    'parse_config',
    'plain_types',
    'same_but_for_the_seed',
]

# What mmengine's Runner builds a training from, without what decides nothing about its log: where
# it wrote, how it was started, how much it told, and what it would be tested on. The other names
# in a configuration's text are variables that these were made with.
EFFECTIVE = (
    'model',
    'train_dataloader',
    'val_dataloader',
    'train_cfg',
    'val_cfg',
    'auto_scale_lr',
    'optim_wrapper',
    'param_scheduler',
    'val_evaluator',
    'default_hooks',
    'custom_hooks',
    'data_preprocessor',
    'load_from',
    'resume',
    'env_cfg',
    'log_processor',
    'default_scope',
    'randomness',
    'runner_type',
    'model_wrapper_cfg',
    'sync_bn',
    'find_unused_parameters',
    'compile',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
)

SILENT_HOOKS = ('logger', 'visualization', 'timer', 'checkpoint', 'affine')
# What the base of the detectors had in 0.1.0 besides what it has; they only stop a run.
EARLIER_HOOKS = [
    dict(type='NumClassCheckHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW'),
]
CHECKING_HOOKS = tuple(hook['type'] for hook in EARLIER_HOOKS)

# Of these a class is known by its name alone, wherever in the package it stands.
PACKAGES = ('mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'torch', 'dn_mmdet')
# Classes that are registered by another name than their own.
ALIASES = {
    'BatchNorm2d': 'BN',
    'SyncBatchNorm': 'SyncBN',
    'GroupNorm': 'GN',
    'InstanceNorm2d': 'IN',
    'LayerNorm': 'LN',
    'PretrainedInit': 'Pretrained',
    'TruncNormalInit': 'TruncNormal',
    'KaimingInit': 'Kaiming',
    'NormalInit': 'Normal',
    'XavierInit': 'Xavier',
    'ConstantInit': 'Constant',
}

ABSENT = '(not set)'


class Source(str):
    """Source text of what in a configuration is not a literal."""


def parse_config(text: str) -> dict[str, Any]:
    """Read what ``Config.dump`` wrote: assignments of literals and ``dict(...)`` calls.

    Args:
        text (str): Of a configuration, complete, without bases.

    Returns:
        dict[str, Any]: Name to value; tuples are lists, and what is not a literal is a
        :class:`Source`.

    Raises:
        SyntaxError: The text is not Python.
    """
    return {
        node.targets[0].id: literal(node.value, _source)
        for node in statements(text)
        if _is_assignment(node)
    }


def literal_config(text: str, file: str | Path, needed: Sequence[str] | None = None) -> Config:
    """Make a configuration to build from, without running the file that it stands in.

    Equal to ``Config.fromfile`` for what ``Config.dump`` wrote. As there, the modules that
    ``custom_imports`` names are imported, from where Python finds installed ones; and what is
    built from it later is of the classes that its types name.

    Args:
        text (str): Of the configuration.
        file (str | Path): Where it stands, for messages.
        needed (Sequence[str], optional): The names that something is built from. Defaults to all.

    Returns:
        Config: Tuples are tuples.

    Raises:
        UserError: The text is not Python, or not a list of assignments, or what is needed holds
            something other than literals, or a module cannot be imported.
    """
    try:
        nodes = statements(text)
    except SyntaxError as error:
        raise UserError(
            f'{file} is not valid Python at line {error.lineno}: {error.msg}.'
        ) from error
    values = {}
    for node in nodes:
        if _is_assignment(node) and node.targets[0].id != '_base_':
            values[node.targets[0].id] = literal(node.value, _source, keep_tuples=True)
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            raise UserError(
                f'{file} is not a complete configuration of the kind mmengine saves with a log: '
                f'line {node.lineno}, {_source(node)[:60]!r}, is not a plain NAME = VALUE.'
            )
    for name in values if needed is None else needed:
        for key, source in _sources(values.get(name), name):
            raise UserError(
                f'{file}: {key} is not a literal but {source[:80]}, which would have to be '
                'executed; write its value instead.'
            )
    imports = values.get('custom_imports')
    if isinstance(imports, dict):
        try:
            import_modules_from_strings(**imports)
        except Exception as error:  # a module is code, which may raise anything
            raise UserError(
                f'{file}: custom_imports cannot be imported here ({error}): install what it names.'
            ) from error
    return Config(values, cfg_text=text, filename=str(file))


def _is_assignment(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def _source(node: ast.AST) -> Source:
    try:
        return Source(ast.unparse(node))
    except RecursionError:
        return Source('an expression that is nested too deep')


def _sources(value: Any, key: str) -> Iterator[tuple[str, Source]]:
    """Dotted key and text of everything in a value that is not a literal."""
    if isinstance(value, Source):
        yield key, value
    elif isinstance(value, (dict, list, tuple)):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _sources(inner, f'{key}.{name}')


def effective(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that decides the result, without the seed.

    Args:
        config (dict[str, Any]): From :func:`parse_config`.

    Returns:
        dict[str, Any]: A shallow copy.
    """
    kept = {key: plain_types(config[key]) for key in EFFECTIVE if config.get(key) is not None}
    for name, left_out in (('randomness', ('seed',)), ('default_hooks', SILENT_HOOKS)):
        if isinstance(kept.get(name), dict):
            kept[name] = {k: value for k, value in kept[name].items() if k not in left_out}
    if isinstance(kept.get('custom_hooks'), list):
        kept['custom_hooks'] = [
            hook
            for hook in kept['custom_hooks']
            if not (isinstance(hook, dict) and hook.get('type') in CHECKING_HOOKS)
        ]
    if not kept.get('resume'):
        kept.pop('resume', None)
    return {key: value for key, value in kept.items() if value not in ({}, [])}


def plain_types(value: Any) -> Any:
    """A configuration in which every type of a known package has its plain name.

    A configuration in pure Python is saved with the paths of its classes, and a name may have its
    scope before it: 'mmdet.datasets.coco.CocoDataset' and 'mmdet.CocoDataset' are 'CocoDataset'.

    Args:
        value (Any): From :func:`parse_config`, or a value in it. Is not changed.

    Returns:
        Any: As ``value``; a type of another package keeps its path.
    """
    if isinstance(value, dict):
        return {
            key: _plain_name(inner)
            if key == 'type' and isinstance(inner, str)
            else plain_types(inner)
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(plain_types(inner) for inner in value)
    return value


def _plain_name(name: str) -> str:
    parts = name.split('.')
    plain = parts[-1] if parts[0] in PACKAGES else name
    return ALIASES.get(plain, plain) if len(parts) > 1 else plain


class ConfigDifference(NamedTuple):
    """One place where two configurations differ.

    Attributes:
        key (str): Dotted, as ``--cfg-options`` takes it: 'model.backbone.norm_cfg'.
        first (Any): The value of the first; '(not set)' where it has none.
        second (Any): The value of the second.
    """

    key: str
    first: Any
    second: Any


def differences(first: Any, second: Any, key: str = '') -> tuple[ConfigDifference, ...]:
    """All places where two configurations differ, in the order of their keys.

    Two dicts of another ``type`` differ as a whole: BN's eps is not compared with that of DN-B.

    Args:
        first (Any): From :func:`effective`, or a value in it.
        second (Any): Likewise.
        key (str): Where both lie. Defaults to the top.

    Returns:
        tuple[ConfigDifference, ...]: Empty where they are equal.
    """
    if first == second:
        return ()
    if (
        isinstance(first, dict)
        and isinstance(second, dict)
        and first.get('type') == second.get('type')
    ):
        names = sorted(first.keys() | second.keys(), key=str)
        pairs = [(name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names]
    elif (
        isinstance(first, list)
        and isinstance(second, list)
        and len(first) == len(second)
        and all(isinstance(item, dict) for item in (*first, *second))
    ):
        pairs = [(str(i), *pair) for i, pair in enumerate(zip_strict(first, second))]
    else:
        return (ConfigDifference(key, first, second),)
    return tuple(
        found
        for name, *pair in pairs
        for found in differences(*pair, f'{key}.{name}' if key else str(name))
    )


def is_expected(difference: ConfigDifference) -> bool:
    """Whether a comparison of norms is about it: the norm or the checkpoint to start from."""
    parts = difference.key.split('.')
    return 'norm_cfg' in parts or parts[-1] in ('checkpoint', 'load_from')


def same_but_for_the_seed(
    first: dict[str, Any], second: dict[str, Any], first_seed: int, second_seed: int
) -> bool:
    """Whether two configurations are one experiment, run with two seeds.

    A checkpoint to start from may carry the seed in its path, as
    'work_dirs/bn_seed0/epoch_3.pth' and 'work_dirs/bn_seed1/epoch_3.pth' do.

    Args:
        first (dict[str, Any]): From :func:`effective`.
        second (dict[str, Any]): Likewise.
        first_seed (int): Of the first.
        second_seed (int): Of the second.

    Returns:
        bool: True where nothing else differs.
    """
    return all(
        found.key.split('.')[-1] in ('checkpoint', 'load_from')
        and _same_path(str(found.first), str(found.second), str(first_seed), str(second_seed))
        for found in differences(first, second)
    )


def _same_path(first: str, second: str, first_seed: str, second_seed: str) -> bool:
    pairs = [re.findall(r'\d+|\D+', path) for path in (first, second)]
    return len(pairs[0]) == len(pairs[1]) and all(
        a == b or (a, b) == (first_seed, second_seed) for a, b in zip_strict(*pairs)
    )
