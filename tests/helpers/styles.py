"""One configuration in the three ways to name a type: plain, with its scope, in pure Python."""

from collections.abc import Mapping
from functools import cache

import mmdet.registry  # noqa: F401
from mmengine import registry as registries
from mmengine.registry import DefaultScope, Registry

from dn_mmdet.engine import load_config

__all__ = ['STYLES', 'write_style']

STYLES = ('plain', 'scoped', 'pure')

# As mmdet's own: a base that is imported whole, and a file that changes a few values of it.
PURE = """
from mmengine.config import read_base

with read_base():
    from .{base} import *

default_scope = None
randomness.update(dict(deterministic=False))
"""


def write_style(path, style):
    """Write a configuration of the plain style once more, complete, with mmengine's own hooks.

    Args:
        path (Path): A configuration of mmdet's scope.
        style (str): One of STYLES.
    """
    cfg = load_config(str(path), {'default_hooks.checkpoint.type': 'CheckpointHook'})
    own = ('invalid_loss', 'resume_lr')
    cfg.default_hooks = {k: v for k, v in cfg.default_hooks.items() if k not in own}
    settings = {key: value for key, value in cfg.items() if key not in ('work_dir', 'launcher')}
    imports = {}
    with DefaultScope.overwrite_default_scope('mmdet'):
        lines = [f'{key} = {_text(value, style, imports)}' for key, value in settings.items()]
    lines = [*(f'from {module} import {name}' for name, module in imports.items()), *lines]
    target = path.with_name(f'{path.stem}_{style}.py')
    if style == 'pure':
        base = path.with_name(f'{path.stem}_base.py')
        target.write_text(PURE.format(base=base.stem))
        lines = [line for line in lines if not line.startswith('custom_imports')]
    else:
        base = target
    base.write_text('\n'.join(lines) + '\n')
    return target


def _text(value, style, imports):
    if isinstance(value, Mapping):
        items = [
            f'{key!r}: {(_type if key == "type" else _text)(inner, style, imports)}'
            for key, inner in value.items()
        ]
        return f'dict({{{", ".join(items)}}})'
    if isinstance(value, (list, tuple)):
        inner = ''.join(f'{_text(item, style, imports)}, ' for item in value)
        return f'[{inner}]' if isinstance(value, list) else f'({inner})'
    return repr(value)


def _type(name, style, imports):
    found = next((known for known in _registries() if name in known.module_dict), None)
    if found is None or style == 'plain':  # 'nms' is in no registry
        return repr(name)
    if style == 'scoped':
        return repr(f'{found.scope}.{name}')
    cls = found.module_dict[name]
    imports[cls.__name__] = cls.__module__
    return cls.__name__


@cache
def _registries():
    """All registries, mmdet's before the one above it, filled."""
    roots = [root for root in vars(registries).values() if isinstance(root, Registry)]
    found = [r for root in roots for r in (root.children.get('mmdet'), root) if r is not None]
    for registry in found:
        registry.import_from_location()
    return found
