"""Checking the data loaders of a configuration: that torch builds them, and how many batches."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ...utils.errors import UserError
from ...utils.text import error_text
from .planned import PlannedRun, silence
from .registries import find_type

__all__ = ['check_loaders', 'check_whole_number', 'sampler_of', 'trial_loader']

# What the trial can build, since it needs no more of a data set than its length.
SAMPLERS = (DefaultSampler, InfiniteSampler)
BATCH_SAMPLERS = ('AspectRatioBatchSampler', 'BatchSampler')


def check_loaders(run: PlannedRun) -> None:
    """Check the arguments of every data loader, which is built without its data set.

    Raises:
        UserError: A batch size or a number of workers is none, arguments exclude each other, or
            the loader cannot be built.
    """
    for part, loader in run.loaders():
        with run.going_on():
            trial_loader(loader, f'{part}_dataloader', 1)
            _check_sampler(run, part, loader)


def trial_loader(loader: Mapping, key: str, images: int) -> DataLoader:
    """Build the data loader of a configuration over numbers in place of its data set.

    A sampler that needs more of a data set than its length is left out.

    Args:
        loader (Mapping): The configuration of the loader.
        key (str): Its dotted key, for messages.
        images (int): The length of the data set in this process.

    Returns:
        DataLoader: Of the length of the real one if its sampler is known; see :func:`sampler_of`.

    Raises:
        UserError: It cannot be built; always in the same words, which a survey tells once.
    """
    _check_arguments(key, loader)
    cfg = {**loader, 'dataset': range(images)}
    if sampler_of(loader) is None:
        cfg['sampler'] = {'type': 'DefaultSampler'}
    if cfg.get('batch_sampler') is not None and not _knows_batch_sampler(loader):
        cfg.update(batch_sampler=None, batch_size=1)
    with silence(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of more workers than cores: the run says it again
        try:
            return Runner.build_dataloader(cfg, seed=0)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'{key} cannot be built: {error_text(error).rstrip(".")}. Correct its arguments, '
                'which are those of torch.utils.data.DataLoader.'
            ) from error


def sampler_of(loader: Mapping) -> type | None:
    """The class of a loader's sampler where it is known how many batches it makes, else None."""
    if loader.get('batch_sampler') is not None and not _knows_batch_sampler(loader):
        return None
    sampler = loader.get('sampler')
    if sampler is None:
        return DefaultSampler  # torch goes through the images in their order, as that one can
    cls = find_type(DATA_SAMPLERS, sampler.get('type')) if isinstance(sampler, Mapping) else None
    return cls if cls in SAMPLERS else None


def check_whole_number(key: str, value: Any, least: int, remedy: str) -> None:
    """Check a number of a configuration.

    Args:
        key (str): Its dotted key.
        value (Any): It.
        least (int): What it must be at least.
        remedy (str): What to do, the end of the sentence.

    Raises:
        UserError: It is text, not whole, or less.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not (number and least <= value < float('inf') and int(value) == value):
        raise UserError(f'{key} is {value!r}, not a whole number of {least} or more: {remedy}.')


def _check_arguments(key: str, loader: Mapping) -> None:
    if 'sampler' not in loader:
        raise UserError(
            f'{key} has no sampler: add sampler=dict(type={"DefaultSampler"!r}, '
            f'shuffle={key.startswith("train")}).'
        )
    several = loader.get('batch_sampler') is not None and not _knows_batch_sampler(loader)
    if 'batch_size' not in loader and isinstance(loader.get('batch_sampler'), Mapping):
        raise UserError(
            f'{key} has a batch_sampler, but no batch_size: set {key}.batch_size, which the '
            'batch_sampler gets.'
        )
    if not several:
        check_whole_number(
            f'{key}.batch_size', loader.get('batch_size', 1), 1, 'set how many images a step takes'
        )
    workers = loader.get('num_workers', 0)
    check_whole_number(
        f'{key}.num_workers', workers, 0, 'set 0 to load images in the process that trains'
    )
    for name in ('persistent_workers', 'prefetch_factor'):
        value = loader.get(name)
        if value and workers == 0:
            off = False if name == 'persistent_workers' else None
            raise UserError(
                f'{key}.{name} is {value!r}, but {key}.num_workers is 0: set {key}.{name}={off} '
                'or a number of workers.'
            )


def _check_sampler(run: PlannedRun, part: str, loader: Mapping) -> None:
    """Without a sampler nothing shuffles, and nothing shares the images among processes."""
    if loader['sampler'] is not None or loader.get('batch_sampler') is not None:
        return
    key, kind = f'{part}_dataloader', f'dict(type={"DefaultSampler"!r}, shuffle={part == "train"})'
    if run.cfg.get('launcher', 'none') != 'none':
        raise UserError(
            f'{key}.sampler is None, so that every process would get all images: set '
            f'{key}.sampler={kind}.'
        )
    if part == 'train' and not loader.get('shuffle'):
        run.note(
            f'{key}.sampler is None, so the images come in the same order in every epoch; '
            f'{key}.sampler={kind} shuffles them.'
        )


def _knows_batch_sampler(loader: Mapping) -> bool:
    sampler = loader.get('batch_sampler')
    cls = find_type(DATA_SAMPLERS, sampler.get('type')) if isinstance(sampler, Mapping) else None
    return getattr(cls, '__name__', None) in BATCH_SAMPLERS
