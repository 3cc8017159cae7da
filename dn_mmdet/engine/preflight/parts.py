"""Where a configuration names types, and the registry in which the Runner looks each of them up."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, Registry

from .registries import find_type

__all__ = ['typed_parts']

# '*' stands for every key of a dict or every place of a list.
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
    ('visualizer.vis_backends', 'VISBACKENDS'),
    ('visualizer.vis_backends.*', 'VISBACKENDS'),
    *(
        (f'{part}_{place}', registry)
        for part in ('train', 'val', 'test')
        for place, registry in (
            ('evaluator', 'METRICS'),
            ('evaluator.*', 'METRICS'),
            ('evaluator.metrics', 'METRICS'),
            ('evaluator.metrics.*', 'METRICS'),
            ('dataloader.sampler', 'DATA_SAMPLERS'),
            ('dataloader.batch_sampler', 'DATA_SAMPLERS'),
            ('dataloader.dataset', 'DATASETS'),
        )
    ),
)
# Transforms whose argument ``transforms`` is built from the registry too; that of Albu is not.
WRAPPERS = {'KeyMapper', 'RandomApply', 'RandomChoice', 'TestTimeAug'}


def typed_parts(cfg: Config) -> Iterator[tuple[str, Mapping, Registry]]:
    """Every dict of a configuration, except of its model, that the Runner builds by its type.

    Args:
        cfg (Config): The whole configuration; to be called within :func:`config_scope`.

    Yields:
        tuple[str, Mapping, Registry]: Dotted key, the dict, and the root registry of its type.
    """
    for place, name in PLACES:
        for key, part in _at(cfg, place.split('.')):
            if name == 'DATASETS':
                yield from _datasets(key, part)
            elif name == 'METRICS' and 'metrics' in part:
                yield key, part, registries.EVALUATOR
            elif not (place == 'visualizer.vis_backends' and 'type' not in part):
                yield key, part, getattr(registries, name)


def _datasets(key: str, part: Mapping) -> Iterator[tuple[str, Mapping, Registry]]:
    """A data set, those that it wraps, and the transforms of all of them."""
    yield key, part, registries.DATASETS
    for place in ('dataset', 'datasets.*'):
        for inner, wrapped in _at(part, place.split('.'), key):
            yield from _datasets(inner, wrapped)
    for inner, transform in _at(part, ['pipeline', '*'], key):
        yield from _transforms(inner, transform)


def _transforms(key: str, part: Mapping) -> Iterator[tuple[str, Mapping, Registry]]:
    """A transform, behind those that it is built of."""
    cls = find_type(TRANSFORMS, part.get('type'))
    if WRAPPERS & {base.__name__ for base in getattr(cls, '__mro__', ())}:
        for place in ('transforms.*', 'transforms.*.*'):
            for inner, transform in _at(part, place.split('.'), key):
                if 'type' in transform:
                    yield from _transforms(inner, transform)
    yield key, part, TRANSFORMS


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
