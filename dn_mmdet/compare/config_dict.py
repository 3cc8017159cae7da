"""The text of a run's configuration as a dict, without running it."""

import ast

from ..engine.config_text import literal

__all__ = ['effective', 'parse_config']

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
