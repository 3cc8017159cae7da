"""Checking the names that a configuration file assigns: one that nothing uses has no effect.

Of a file that inherits, ``max_epochs = 5`` changes nothing where its base has ``max_epochs`` too:
the base has used its own value while it was read.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mmengine.config import Config

from ...utils.errors import UserError
from ...utils.text import first_few
from ..option_keys import READ, is_in_use, places_like
from .planned import PlannedRun
from .registries import dicts_in

__all__ = ['check_names']


def check_names(run: PlannedRun) -> None:
    """Look for names of the configuration file that it neither uses nor mmengine reads.

    Raises:
        UserError: ``data_root`` is one, and the data sets have the folder of the base.
    """
    module = _inheriting(run.cfg)
    if module is None:
        return
    nodes = [*ast.walk(module)]
    used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    for name in _assigned(module):
        if name in used or name not in run.cfg:
            continue
        if name == 'data_root':
            _check_data_root(run.cfg, texts)
        elif name not in READ and not is_in_use(run.cfg, name):
            places = places_like(run.cfg, name)
            way = f'to change {first_few(places)}, set that' if places else 'use it, or remove it'
            run.note(f'{name} in {run.cfg.filename} is a name that nothing uses: {way}.')


def _inheriting(cfg: Config) -> ast.Module | None:
    """The syntax of a configuration file in Python that has a base, else None."""
    path = Path(cfg.filename or '')
    if path.suffix != '.py' or not path.is_file():
        return None
    module = ast.parse(path.read_text(encoding='utf-8'))
    inherits = '_base_' in _assigned(module) or any(
        isinstance(node, ast.Name) and node.id == 'read_base' for node in ast.walk(module)
    )
    return module if inherits else None


def _assigned(module: ast.Module) -> list[str]:
    """The names that are assigned on the first level of a file."""
    return [
        target.id
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]


def _check_data_root(cfg: Config, texts: set) -> None:
    roots = {
        f'{place}.data_root': part['data_root']
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        for place, part in dicts_in(cfg.get(name), name)
        if isinstance(part.get('data_root'), str)
    }
    inherited = [place for place, root in roots.items() if root not in texts]
    if not any(root.startswith(cfg.data_root) for root in roots.values()) and inherited:
        raise UserError(
            f'data_root in {cfg.filename} is a name that nothing uses: the data sets keep the '
            f'folder of its base, {roots[inherited[0]]}. Set {first_few(inherited)} and the '
            'ann_file of the evaluators in it too.'
        )
