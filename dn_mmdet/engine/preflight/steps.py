"""Checking that a run has something to train on and to evaluate: images, and batches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.registry import DATASETS
from torch.nn.modules.batchnorm import _BatchNorm

from ...utils.errors import UserError
from ..distributed import launched_processes
from .loaders import sampler_of, trial_loader
from .planned import PlannedRun
from .registries import find_type
from .schedule import schedulers_of, training_length

__all__ = ['LoaderCount', 'check_steps', 'count_images', 'count_loader']

# Wrappers by their names, so that no package of models has to be imported.
SAME_LENGTH = 'MultiImageMixDataset'


@dataclass(frozen=True)
class LoaderCount:
    """What a data loader makes of its data set in an epoch.

    Args:
        images (int): Of the data set, after its filter.
        processes (int): That share them.
        own (int): Images of the process that has the fewest.
        batch_size (int): Images that a process takes in a step.
        batches (int): Steps of an epoch.
        drop_last (bool): Whether a batch that is not full is left out.
        endless (bool): Whether the sampler begins again by itself, so that every batch is full.
    """

    images: int
    processes: int
    own: int
    batch_size: int
    batches: int
    drop_last: bool
    endless: bool


def check_steps(run: PlannedRun) -> None:
    """Check that every data set of a run fills a batch; to be called after the checks of data.

    What cannot be known before the data sets are built, :class:`StepsHook` sees.

    Raises:
        UserError: There is nothing to train on or to evaluate, or images are left out of an
            evaluation.
    """
    for part, loader in run.loaders():
        with run.going_on():
            key = f'{part}_dataloader'
            count = count_loader(run, part, loader)
            if count is None:
                continue
            if count.images == 0:
                what = 'train on' if part == 'train' else 'evaluate'
                raise UserError(
                    f'{key}.dataset has no images that its filter leaves, so there is nothing to '
                    f'{what}: correct its annotations, filter_cfg or indices.'
                )
            if part == 'train':
                _check_training(run, key, loader, count)
            else:
                _check_evaluation(key, loader, count)


def count_loader(run: PlannedRun, part: str, loader: Mapping) -> LoaderCount | None:
    """Count what a loader makes of its data set.

    Args:
        run (PlannedRun): Its data sets have been checked.
        part (str): 'train', 'val' or 'test'.
        loader (Mapping): The configuration of the loader.

    Returns:
        LoaderCount | None: None where the data set or the sampler is not known well enough.
    """
    key = f'{part}_dataloader'
    images = count_images(run, loader.get('dataset'), f'{key}.dataset')
    sampler = sampler_of(loader)
    if images is None or sampler is None or loader.get('num_batch_per_epoch') is not None:
        return None
    processes = launched_processes(run.cfg.get('launcher', 'none'))
    options = loader.get('sampler') or {}
    endless = issubclass(sampler, InfiniteSampler)
    # With round_up the sampler repeats images until every process has as many.
    own = -(-images // processes) if options.get('round_up', True) else images // processes
    trial = trial_loader(loader, key, max(own, 1))
    batches = trial.batch_sampler
    length = len(trial) if own else 0
    return LoaderCount(
        images, processes, own, batches.batch_size, length, batches.drop_last, endless
    )


def count_images(run: PlannedRun, dataset: Any, key: str) -> int | None:
    """The length of a data set, whatever wraps it.

    Args:
        run (PlannedRun): Its data sets have been checked.
        dataset (Any): The configuration of the data set.
        key (str): Its dotted key.

    Returns:
        int | None: None where it is not known before the data set is built.

    Raises:
        UserError: ``indices`` names an image that the data set does not have.
    """
    if not isinstance(dataset, Mapping):
        return None
    names = {
        cls.__name__ for cls in getattr(find_type(DATASETS, dataset.get('type')), '__mro__', ())
    }
    if isinstance(dataset.get('dataset'), Mapping):
        inner = count_images(run, dataset['dataset'], f'{key}.dataset')
        times = dataset.get('times')
        if inner == 0 or (inner is not None and SAME_LENGTH in names):
            return inner
        if inner is not None and 'RepeatDataset' in names and isinstance(times, int):
            return max(times, 0) * inner
        return None
    if isinstance(dataset.get('datasets'), (list, tuple)):
        parts = [
            count_images(run, part, f'{key}.datasets.{i}')
            for i, part in enumerate(dataset['datasets'])
        ]
        return None if None in parts or 'ConcatDataset' not in names else sum(parts)
    images = run.contents[key].images if key in run.contents else None
    return None if images is None else _chosen(images, dataset.get('indices'), key)


def _chosen(images: int, indices: Any, key: str) -> int | None:
    """How many images ``indices`` leaves: a number of the first or last ones, or a list."""
    if indices is None:
        return images
    if isinstance(indices, int):
        return min(abs(indices), images)
    if not isinstance(indices, Sequence) or not all(isinstance(i, int) for i in indices):
        return None
    gone = [i for i in indices if not -images <= i < images]
    if gone:
        raise UserError(
            f'{key}.indices has {gone[0]}, but the data set has {images} images, the last of which '
            f'is {images - 1}: correct it.'
        )
    return len(indices)


def _check_training(run: PlannedRun, key: str, loader: Mapping, count: LoaderCount) -> None:
    if count.batches == 0 and not count.endless:
        raise UserError(
            f'nothing would be trained: {key} takes {count.batch_size} images a step'
            f'{_shared(count)} and drops a batch that is not full, but {key}.dataset has '
            f'{count.images}. Set {key}.batch_size to {max(count.own, 1)} or less, or '
            f'{_drop_last(key, loader)}=False.'
        )
    alone = count.own % count.batch_size == 1 and count.batch_size > 1
    if alone and not (count.drop_last or count.endless) and _has_batch_norm(run):
        run.note(
            f'{key}: the last batch of an epoch is a single image ({count.images} images, '
            f'{count.batch_size} a step{_shared(count)}), on which a norm layer in training fails '
            f'where its map is a single pixel: {_drop_last(key, loader)}=True leaves it out.'
        )
    _note_lengths(run, count)


def _check_evaluation(key: str, loader: Mapping, count: LoaderCount) -> None:
    lost = count.own - count.batches * count.batch_size
    if count.drop_last and lost > 0 and not count.endless:
        raise UserError(
            f'{_drop_last(key, loader)} is True, so the evaluation would lack {lost} of the '
            f'{count.own} images{" of each process" if count.processes > 1 else ""}, as if nothing '
            f'were found in them: set {_drop_last(key, loader)}=False.'
        )


def _note_lengths(run: PlannedRun, count: LoaderCount) -> None:
    """Tell of what is longer than the run: a warm-up, an accumulation of gradients."""
    length = training_length(run.cfg)
    if length is None:
        return
    unit, number = length
    iterations = number if unit == 'iteration' else number * count.batches
    lengths = {'iteration': iterations, unit: number}
    wrapper = run.cfg.get('optim_wrapper')
    counts = wrapper.get('accumulative_counts', 1) if isinstance(wrapper, Mapping) else 1
    if isinstance(counts, int) and counts > iterations:
        run.note(
            f'optim_wrapper.accumulative_counts is {counts}, but the run has {iterations} '
            'iterations: the weights are updated once, at its end.'
        )
    for key, scheduler, cls in schedulers_of(run.cfg):
        end, steps = _warm_up_end(scheduler, cls)
        if end is not None and lengths.get(steps, end) < end:
            run.note(
                f'{key} warms up until {steps} {end}, but the run has {lengths[steps]}: the '
                f'learning rate of the configuration is never reached. Set {key}.end to less.'
            )


def _warm_up_end(scheduler: Mapping, cls: type | None) -> tuple[int | None, str]:
    """The step at which a warm-up of the learning rate ends, None for another schedule."""
    name = getattr(cls, '__name__', '')
    unit = 'epoch' if scheduler.get('by_epoch', True) else 'iteration'
    first, last = {
        'LinearLR': (scheduler.get('start_factor', 1 / 3), scheduler.get('end_factor', 1)),
        'ConstantLR': (scheduler.get('factor', 1 / 3), 1),
    }.get(name, (1, 1))
    begin, end = scheduler.get('begin', 0), scheduler.get('end', int(1e9))
    return (end if begin == 0 and first < last else None), unit


def _has_batch_norm(run: PlannedRun) -> bool:
    model = run.model.train()  # which freezes what the configuration freezes
    return any(isinstance(module, _BatchNorm) and module.training for module in model.modules())


def _shared(count: LoaderCount) -> str:
    return f' in each of {count.processes} processes' if count.processes > 1 else ''


def _drop_last(key: str, loader: Mapping) -> str:
    inner = '.batch_sampler' if loader.get('batch_sampler') is not None else ''
    return f'{key}{inner}.drop_last'
