"""Telling a mistake in a configuration from a bug, and finding it before anything is built."""

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import Registry

from ...utils.errors import UserError

__all__ = ['check_types', 'check_vis_backends', 'config_mistakes', 'find_type']

# Where a configuration names a type, and the registry that the Runner will look in. '*' stands
# for every key of a dict or every place of a list.
PLACES = (
    ('train_cfg', 'LOOPS'),
    ('val_cfg', 'LOOPS'),
    ('test_cfg', 'LOOPS'),
    ('optim_wrapper', 'OPTIM_WRAPPERS'),
    ('optim_wrapper.optimizer', 'OPTIMIZERS'),
    ('param_scheduler', 'PARAM_SCHEDULERS'),
    ('param_scheduler.*', 'PARAM_SCHEDULERS'),
    ('default_hooks.*', 'HOOKS'),
    ('custom_hooks.*', 'HOOKS'),
    ('visualizer', 'VISUALIZERS'),
    ('visualizer.vis_backends.*', 'VISBACKENDS'),
    ('val_evaluator', 'METRICS'),
    ('val_evaluator.*', 'METRICS'),
    ('test_evaluator', 'METRICS'),
    ('test_evaluator.*', 'METRICS'),
    *(
        (f'{loader}_dataloader.{part}', registry)
        for loader in ('train', 'val', 'test')
        for part, registry in (
            ('sampler', 'DATA_SAMPLERS'),
            ('dataset', 'DATASETS'),
            ('dataset.pipeline.*', 'TRANSFORMS'),
            ('dataset.dataset', 'DATASETS'),
            ('dataset.dataset.pipeline.*', 'TRANSFORMS'),
        )
    ),
)

# mmengine imports them when the first value is to be written: the module, and what to install.
NEEDED = {
    'TensorboardVisBackend': ('torch.utils.tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}


def check_types(cfg: Config) -> None:
    """Look up the types of hooks, data sets, transforms and the like.

    Raises:
        UserError: One is not registered; names the key and the nearest name that is.
    """
    for place, name in PLACES:
        registry = getattr(registries, name)
        for key, part in _at(cfg, place.split('.')):
            type_ = part.get('type')
            if isinstance(type_, str) and find_type(registry, type_) is None:
                # An Evaluator may stand in the place of its metrics.
                if name == 'METRICS' and find_type(registries.EVALUATOR, type_):
                    continue
                raise _unknown(f'{key}.type', type_, cfg)
    # mmcv builds these, and its message for an unknown one does not name it.
    for key, part in _dicts(cfg.get('model'), 'model'):
        if key.rpartition('.')[2] in ('norm_cfg', 'act_cfg', 'conv_cfg'):
            type_ = part.get('type')
            if isinstance(type_, str) and find_type(registries.MODELS, type_) is None:
                raise _unknown(f'{key}.type', type_, cfg)


@contextmanager
def config_mistakes(cfg: Config, building: str = '') -> Iterator[None]:
    """Turn what a wrong configuration raises into a :class:`UserError`; bugs pass unchanged.

    A type that no registry has, and an argument that a registered class does not take, are raised
    by the registry's own code, which gives them away.

    Args:
        cfg (Config): The configuration, for the message.
        building (str): What the block builds from the configuration and does nothing else with,
            if so: then its ValueErrors, TypeErrors and failed assertions are taken as words about
            the configuration too.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        # str() of a KeyError is the repr of its text.
        text = ' '.join(str(error.args[0] if isinstance(error, KeyError) else error).split())
        unknown = re.match(r'(\S+) is not in the \S+::', text)
        if isinstance(error, KeyError) and unknown:
            raise _unknown(None, unknown[1], cfg) from error
        by_registry = frame.filename.endswith(os.path.join('registry', 'build_functions.py'))
        if not building and not by_registry:
            raise
        if isinstance(error, KeyError) and not by_registry:
            raise
        what = building or 'what it describes'
        place = f' ({os.path.basename(frame.filename)}, line {frame.lineno})'
        raise UserError(
            f'{cfg.filename}: {what} cannot be built: {text.rstrip(".")}'
            f'{"" if by_registry else place}. Correct the configuration or '
            '--cfg-options.'
        ) from error


def _unknown(key: str | None, name: str, cfg: Config) -> UserError:
    key = key or next(
        (f'{place}.type' for place, part in _dicts(cfg, '') if part.get('type') == name), 'a type'
    )
    near = get_close_matches(name, _registered_names(), n=1, cutoff=0.6)
    hint = f'did you mean {near[0]!r}?' if near else 'check the spelling.'
    return UserError(
        f'{cfg.filename}: {key} is {name!r}, which is registered nowhere; {hint} A '
        'class of your own must be imported with custom_imports.'
    )


def _registered_names() -> set[str]:
    names, queue = set(), [r for r in vars(registries).values() if isinstance(r, Registry)]
    while queue:
        registry = queue.pop()
        names.update(registry.module_dict)
        queue.extend(registry.children.values())
    return names


def _at(node: Any, keys: list[str], path: str = '') -> Iterator[tuple[str, Mapping]]:
    """The dicts at a dotted place, each with its own dotted key."""
    if not keys:
        if isinstance(node, Mapping):
            yield path, node
        return
    if keys[0] == '*':
        if isinstance(node, (list, tuple)):
            items = enumerate(node)
        elif isinstance(node, Mapping) and 'type' not in node:
            items = node.items()
        else:
            return
    else:
        items = [(keys[0], node.get(keys[0]))] if isinstance(node, (Mapping, Config)) else []
    for key, inner in items:
        yield from _at(inner, keys[1:], f'{path}.{key}' if path else str(key))


def _dicts(node: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    if isinstance(node, (Mapping, Config)):
        if path:
            yield path, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, inner in items:
        yield from _dicts(inner, f'{path}.{key}' if path else str(key))


def check_vis_backends(cfg: Config) -> None:
    """Import what the backends in ``visualizer.vis_backends`` need.

    Args:
        cfg (Config): The whole configuration.

    Raises:
        UserError: A package cannot be imported; says how to install it.
    """
    visualizer = cfg.get('visualizer')
    backends = visualizer.get('vis_backends') if isinstance(visualizer, Mapping) else None
    for backend in [backends] if isinstance(backends, Mapping) else backends or ():
        name = backend.get('type') if isinstance(backend, Mapping) else None
        if name not in NEEDED:
            continue
        module, package = NEEDED[name]
        try:
            import_module(module)
        except ImportError as error:
            raise UserError(
                f'visualizer.vis_backends: {name} needs the package {package}, which cannot be '
                f'imported ({error}): run "pip install {package}", or leave the backend '
                'out.'
            ) from error


def find_type(registry: Registry, name: Any) -> Any:
    """The class or function that ``type=name`` stands for, or None if there is none.

    ``Registry.get`` alone looks in the registry itself and in its parents; this one begins in
    the default scope, as ``Registry.build`` does.

    Args:
        registry (Registry): A root registry of mmengine.
        name (Any): A name, perhaps with a scope (``mmdet.CocoDataset``), or the class itself.
    """
    if not isinstance(name, str):
        return name
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name)
