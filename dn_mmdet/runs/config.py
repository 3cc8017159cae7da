"""The text of a run's configuration as a dict, without running it."""

import ast
import re
from typing import Any, NamedTuple

from ..engine.config_text import literal

__all__ = [
    'ABSENT',
    'ConfigDifference',
    'differences',
    'effective',
    'is_expected',
    'parse_config',
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

ABSENT = '(not set)'


def parse_config(text):
    """Read what ``Config.dump`` wrote: assignments of literals and ``dict(...)`` calls.

    Args:
        text (str): of a configuration, complete, without bases.

    Returns:
        dict: name to value; tuples are lists, and what is no literal is its source text.

    Raises:
        SyntaxError: the text is not Python.
    """
    try:
        statements = ast.parse(text).body
    except ValueError as error:  # a null byte, as a power cut leaves them
        raise SyntaxError(str(error)) from error
    return {
        node.targets[0].id: literal(node.value, ast.unparse)
        for node in statements
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def effective(config):
    """The part of a configuration that decides the result, without the seed.

    Args:
        config (dict): from :func:`parse_config`.

    Returns:
        dict: a shallow copy.
    """
    kept = {key: config[key] for key in EFFECTIVE if config.get(key) is not None}
    kept['randomness'] = {
        key: value for key, value in (kept.get('randomness') or {}).items() if key != 'seed'
    }
    kept['default_hooks'] = {
        key: value
        for key, value in (kept.get('default_hooks') or {}).items()
        if key not in SILENT_HOOKS
    }
    if not kept.get('resume'):
        kept.pop('resume', None)
    return {key: value for key, value in kept.items() if value != {}}


class ConfigDifference(NamedTuple):
    """One place where two configurations differ.

    Attributes:
        key (str): dotted, as ``--cfg-options`` takes it: 'model.backbone.norm_cfg'.
        first (Any): the value of the first; '(not set)' where it has none.
        second (Any): the value of the second.
    """

    key: str
    first: Any
    second: Any


def differences(first, second, key=''):
    """All places where two configurations differ, in the order of their keys.

    Two dicts of another ``type`` differ as a whole: BN's eps is not compared with that of DN-B.

    Args:
        first (dict): from :func:`dn_mmdet.runs.config.effective`.
        second (dict): likewise.
        key (str): where both lie. Default: at the top.

    Returns:
        tuple[ConfigDifference, ...]: empty where they are equal.
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
        pairs = [(str(i), *pair) for i, pair in enumerate(zip(first, second, strict=True))]
    else:
        return (ConfigDifference(key, first, second),)
    return tuple(
        found
        for name, *pair in pairs
        for found in differences(*pair, f'{key}.{name}' if key else str(name))
    )


def is_expected(difference):
    """Whether a comparison of norms is about it: the norm or the checkpoint to start from."""
    parts = difference.key.split('.')
    return 'norm_cfg' in parts or parts[-1] in ('checkpoint', 'load_from')


def same_but_for_the_seed(first, second, first_seed, second_seed):
    """Whether two configurations are one experiment, run with two seeds.

    A checkpoint to start from may carry the seed in its path, as
    'work_dirs/bn_seed0/epoch_3.pth' and 'work_dirs/bn_seed1/epoch_3.pth' do.

    Args:
        first (dict): from :func:`dn_mmdet.runs.config.effective`.
        second (dict): likewise.
        first_seed (int): of the first; second_seed (int): of the second.

    Returns:
        bool: True where nothing else differs.
    """
    return all(
        found.key.split('.')[-1] in ('checkpoint', 'load_from')
        and _same_path(str(found.first), str(found.second), str(first_seed), str(second_seed))
        for found in differences(first, second)
    )


def _same_path(first, second, first_seed, second_seed):
    pairs = [re.findall(r'\d+|\D+', path) for path in (first, second)]
    return len(pairs[0]) == len(pairs[1]) and all(
        a == b or (a, b) == (first_seed, second_seed) for a, b in zip(*pairs, strict=True)
    )
