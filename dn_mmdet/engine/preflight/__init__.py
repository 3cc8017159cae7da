"""All that can be known to be wrong before a run begins, checked before it writes a file."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ...utils.errors import UserError
from .checkpoint import check_load_from, check_pretrained, check_resume, check_test_checkpoint
from .classification import check_top_k
from .coco import check_evaluator, wants_labels
from .config import check_types, check_vis_backends, config_mistakes
from .data import DataOptions, check_data

__all__ = ['preflight']

NEEDED = {
    'train': ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
    'test': ('model', 'test_dataloader', 'test_cfg', 'test_evaluator'),
}
DATALOADERS = {'train': ('train_dataloader', 'val_dataloader'), 'test': ('test_dataloader',)}
OPTIONS = ('images', 'class_subset', 'checkpoint')


def preflight(cfg: Config, mode: str) -> list[str]:
    """Check configuration, checkpoints and data of a run.

    Nothing is written and the model that is built for the comparison is thrown away. The key
    ``preflight`` of the configuration takes three switches: ``images=False`` skips opening every
    image, ``class_subset=True`` allows a class list that leaves out categories of the annotation
    file, ``checkpoint=False`` lets ``load_from`` give a part of the weights.

    Args:
        cfg (Config): The whole configuration; ``load_from`` and ``resume`` are final.
        mode (str): 'train' or 'test'.

    Returns:
        list[str]: Notes for the log.

    Raises:
        UserError: What is wrong, where, and what to do.
    """
    switches = _switches(cfg)
    absent = [key for key in NEEDED[mode] if cfg.get(key) is None]
    if absent:
        raise UserError(
            f'{cfg.filename} defines no {" and no ".join(absent)}, so it cannot '
            f'{mode}: give a whole configuration, not a part for others to inherit.'
        )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        check_types(cfg)
        check_vis_backends(cfg)
        with _silence(), config_mistakes(cfg, 'the model'):
            model = MODELS.build(cfg.model)
        if mode == 'train':
            with _silence(), config_mistakes(cfg, 'the optimizer'):
                _build_optimizer(cfg, model)
        notes = _check_checkpoints(cfg, model, mode, switches['checkpoint'])
        _check_dataloaders(cfg, model, mode, switches)
    return notes


def _switches(cfg: Config) -> dict[str, bool]:
    given = cfg.get('preflight', {})
    if not isinstance(given, Mapping):
        raise UserError(
            f'preflight is {given!r} and not a dict of the switches {", ".join(OPTIONS)}.'
        )
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        raise UserError(f'preflight has no switch {unknown[0]!r}: there are {", ".join(OPTIONS)}.')
    return {'images': True, 'class_subset': False, 'checkpoint': True, **given}


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what building logs for the Runner, which builds all of it again."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)


def _build_optimizer(cfg: Config, model: nn.Module) -> None:
    wrapper = cfg.optim_wrapper
    if not isinstance(wrapper, Mapping) or not isinstance(wrapper.get('optimizer'), Mapping):
        return
    # A wrapper for mixed precision asks for a GPU, which is for the run to say.
    keys = ('optimizer', 'paramwise_cfg', 'constructor')
    part = deepcopy({key: wrapper[key] for key in keys if key in wrapper})
    build_optim_wrapper(model, ConfigDict(part, type='OptimWrapper'))


def _check_checkpoints(cfg: Config, model: nn.Module, mode: str, whole: bool) -> list[str]:
    if mode == 'test':
        check_test_checkpoint(cfg.load_from, model, cfg)
        return []
    check_pretrained(model, cfg)
    path = cfg.get('load_from')
    if not path:
        return []
    if cfg.get('resume'):
        check_resume(path, model, cfg)
        return []
    return check_load_from(path, model, cfg, whole)


def _check_dataloaders(
    cfg: Config, model: nn.Module, mode: str, switches: Mapping[str, bool]
) -> None:
    done: dict[Any, Sequence[str] | None] = {}
    for loader in DATALOADERS[mode]:
        evaluator = f'{loader.partition("_")[0]}_evaluator'
        if loader == 'val_dataloader' and cfg.get('val_cfg') is None:
            continue
        dataset = cfg[loader].get('dataset') if isinstance(cfg[loader], Mapping) else None
        labels = loader == 'train_dataloader' or wants_labels(cfg.get(evaluator))
        options = DataOptions(switches['images'], switches['class_subset'], labels)
        for key, classes in check_data(dataset, f'{loader}.dataset', options, done):
            _check_number_of_classes(model, classes, key, cfg)
        if loader != 'train_dataloader':
            check_evaluator(cfg.get(evaluator), evaluator, dataset)
            check_top_k(cfg.get(evaluator), evaluator, model)


def _check_number_of_classes(
    model: nn.Module, classes: Sequence[str], key: str, cfg: Config
) -> None:
    """mmdet's NumClassCheckHook, before the run instead of in its first epoch."""
    for name, module in model.named_modules():
        number = getattr(module, 'num_classes', None)
        # A region proposal head tells objects from background, whatever the data set.
        apart = name.endswith('rpn_head') or 'semantic' in name
        if apart or not isinstance(number, int) or number < 1:
            continue
        if number != len(classes):
            at = f'model.{name}.num_classes' if name else 'model.num_classes'
            raise UserError(
                f'{at} is {number} and the class list of {key} has {len(classes)} '
                f'names: set {at}={len(classes)} in {cfg.filename}, or correct the '
                'class list.'
            )
