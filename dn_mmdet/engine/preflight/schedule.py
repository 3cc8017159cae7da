"""Checking how long a configuration trains and at which rate, by itself: without data or model."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.registry import LOOPS, PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ...utils.errors import UserError
from ...utils.text import first_few
from .loaders import check_whole_number, sampler_of
from .planned import PlannedRun
from .registries import find_type

__all__ = ['check_schedule', 'loop_of', 'schedulers_of', 'training_length']

# mmengine: a dict without a type is one of these.
DEFAULT_LOOPS = {'val': 'ValLoop', 'test': 'TestLoop'}
# mmengine: what clip_grad may be.
CLIPPING = {'norm': clip_grad_norm_, 'value': clip_grad_value_}
# What goes through a loader to its end.
TO_THE_END = (EpochBasedTrainLoop.run_epoch, ValLoop.run, TestLoop.run)
# What the Runner itself hands to a loop.
GIVEN = ('runner', 'dataloader', 'evaluator')


def check_schedule(run: PlannedRun) -> None:
    """Check the loops, learning rate and accumulation of gradients of a run.

    Raises:
        UserError: A loop has no steps or cannot be built, or a number is not one.
    """
    for part in run.looked_at():
        with run.going_on():
            _check_loop(run, part)
    for part, loader in run.loaders():
        with run.going_on():
            _check_end(run, part, loader)
    if 'train' not in run.looked_at():
        return
    _check_optimizer_is_given(run)
    _check_rate(run)
    _check_clipping(run)
    wrapper = run.cfg.get('optim_wrapper')
    if isinstance(wrapper, Mapping) and 'accumulative_counts' in wrapper:
        check_whole_number(
            'optim_wrapper.accumulative_counts',
            wrapper['accumulative_counts'],
            1,
            'set after how many iterations the weights are updated',
        )
    _note_evaluation(run)
    _note_units(run)


def loop_of(cfg: Mapping, part: str) -> type | None:
    """The class of a loop of a configuration, None where there is none or it is not known.

    Args:
        cfg (Mapping): The whole configuration.
        part (str): 'train', 'val' or 'test'.

    Returns:
        type | None: The class.
    """
    loop = cfg.get(f'{part}_cfg')
    if not isinstance(loop, Mapping):
        return None
    if loop.get('type') is not None:
        cls = find_type(LOOPS, loop['type'])
    elif part == 'train':
        cls = EpochBasedTrainLoop if loop.get('by_epoch') else IterBasedTrainLoop
    else:
        cls = find_type(LOOPS, DEFAULT_LOOPS[part])
    return cls if isinstance(cls, type) else None


def training_length(cfg: Mapping) -> tuple[str, int] | None:
    """Unit ('epoch' or 'iteration') and number of steps that a configuration trains, if known."""
    loop = loop_of(cfg, 'train')
    for base, unit, name in (
        (EpochBasedTrainLoop, 'epoch', 'max_epochs'),
        (IterBasedTrainLoop, 'iteration', 'max_iters'),
    ):
        if loop is not None and issubclass(loop, base) and _finite(cfg['train_cfg'].get(name)):
            return unit, int(cfg['train_cfg'][name])
    return None


def schedulers_of(cfg: Mapping) -> Iterator[tuple[str, Mapping, type | None]]:
    """Dotted key, configuration and class of every parameter scheduler."""
    given = cfg.get('param_scheduler')
    if isinstance(given, Mapping) and 'type' in given:
        items: Any = [('param_scheduler', given)]
    elif isinstance(given, (list, tuple)):
        items = [(f'param_scheduler.{i}', scheduler) for i, scheduler in enumerate(given)]
    else:
        return
    for key, scheduler in items:
        if isinstance(scheduler, Mapping):
            yield key, scheduler, find_type(PARAM_SCHEDULERS, scheduler.get('type'))


def _check_loop(run: PlannedRun, part: str) -> None:
    loop, key = run.cfg.get(f'{part}_cfg'), f'{part}_cfg'
    if not isinstance(loop, Mapping):
        return
    if part == 'train' and ('type' in loop) == ('by_epoch' in loop):
        raise UserError(
            f'{key} has {"both type and" if "type" in loop else "neither type nor"} by_epoch: set '
            f'{key}.type to {"EpochBasedTrainLoop"!r}, or to {"IterBasedTrainLoop"!r} for a '
            'schedule in iterations.'
        )
    cls = loop_of(run.cfg, part)
    if cls is None:
        return
    # mmengine marks what comes from a base of another package, as 'mmdet::...', with its scope.
    own = {'type', '_scope_'} | ({'by_epoch'} if part == 'train' else set())
    arguments = {name: value for name, value in loop.items() if name not in own}
    try:
        inspect.signature(cls).bind(**dict.fromkeys(_given(cls)), **arguments)
    except TypeError as error:
        raise UserError(f'{key}, a {cls.__name__}, has {_told(error)}: correct it.') from error
    for name in ('max_epochs', 'max_iters'):
        if name in arguments:
            number = f'{key}.{name}'
            remedy = 'nothing would be trained; set how long the run is'
            check_whole_number(number, arguments[name], 1, remedy)
    if issubclass(cls, (EpochBasedTrainLoop, IterBasedTrainLoop)):
        never = 'to evaluate never, set val_cfg, val_dataloader and val_evaluator to None'
        check_whole_number(f'{key}.val_interval', arguments.get('val_interval', 1), 1, never)
        check_whole_number(f'{key}.val_begin', arguments.get('val_begin', 1), 0, never)


def _check_end(run: PlannedRun, part: str, loader: Mapping) -> None:
    cls = loop_of(run.cfg, part)
    way = getattr(cls, 'run_epoch' if part == 'train' else 'run', None)
    if sampler_of(loader) is InfiniteSampler and way in TO_THE_END:
        other = f' or train_cfg.type={"IterBasedTrainLoop"!r}' if part == 'train' else ''
        raise UserError(
            f'{part}_dataloader.sampler is an InfiniteSampler, of which {part}_cfg, a '
            f'{cls.__name__}, never reaches the end: set {part}_dataloader.sampler.type='
            f'{"DefaultSampler"!r}{other}.'
        )


def _given(cls: type) -> list[str]:
    """The arguments of a loop that the Runner gives it."""
    parameters = inspect.signature(cls).parameters
    return [name for name in GIVEN if name in parameters]


def _told(error: TypeError) -> str:
    """'missing a required argument: 'x'' or 'got an unexpected keyword argument 'x''."""
    text = str(error)
    name = text.rpartition(' ')[2]
    return f'no {name}' if text.startswith('missing') else f'an argument it does not take, {name}'


def _check_optimizer_is_given(run: PlannedRun) -> None:
    wrapper = run.cfg.get('optim_wrapper')
    if not isinstance(wrapper, Mapping) or run.cfg.get('runner_type') is not None:
        return
    # Several optimizers are for a constructor to build.
    if wrapper.get('constructor') is None and not isinstance(wrapper.get('optimizer'), Mapping):
        raise UserError(
            f'optim_wrapper.optimizer is {wrapper.get("optimizer")!r} in {run.cfg.filename}, not '
            f'a dict: set it as in optim_wrapper.optimizer=dict(type={"SGD"!r}, lr=0.01).'
        )


def _check_clipping(run: PlannedRun) -> None:
    """Check what torch would refuse when the first gradients are clipped."""
    wrapper, key = run.cfg.get('optim_wrapper'), 'optim_wrapper.clip_grad'
    clip = wrapper.get('clip_grad') if isinstance(wrapper, Mapping) else None
    if not isinstance(clip, Mapping) or not clip:  # what is no dict, the wrapper refuses
        return
    function = CLIPPING.get(clip.get('type', 'norm'))
    if function is None:
        raise UserError(
            f'{key}.type is {clip["type"]!r}: it must be {first_few(map(repr, CLIPPING))}.'
        )
    arguments = {name: value for name, value in clip.items() if name != 'type'}
    try:
        inspect.signature(function).bind(None, **arguments)
    except TypeError as error:
        names = [*inspect.signature(function).parameters][1:]
        raise UserError(
            f'{key} has {_told(error)}: {function.__name__} takes {first_few(names, 9)}.'
        ) from error
    name = next(iter(inspect.signature(function).parameters.keys() & {'max_norm', 'clip_value'}))
    limit = arguments[name]
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise UserError(f'{key}.{name} is {limit!r}, not a number above 0: set the largest.')


def _check_rate(run: PlannedRun) -> None:
    wrapper = run.cfg.get('optim_wrapper')
    optimizer = wrapper.get('optimizer') if isinstance(wrapper, Mapping) else None
    if isinstance(optimizer, Mapping) and 'lr' in optimizer:
        rate, key = optimizer['lr'], 'optim_wrapper.optimizer.lr'
        if not _finite(rate) or rate < 0:
            raise UserError(f'{key} is {rate!r}, not a number of 0 or more: set a learning rate.')
        if rate == 0:
            run.note(f'{key} is 0, so training leaves the weights as they are.')
    scale = run.cfg.get('auto_scale_lr')
    if isinstance(scale, Mapping) and scale.get('enable'):
        base = scale.get('base_batch_size')
        if not _finite(base) or base <= 0:
            raise UserError(
                f'auto_scale_lr.base_batch_size is {base!r}, not a positive number: set the batch '
                'size that the learning rate was chosen for, or auto_scale_lr.enable=False.'
            )


def _finite(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _note_evaluation(run: PlannedRun) -> None:
    """Tell of an evaluation that never comes."""
    length = training_length(run.cfg)
    checkpoint = (run.cfg.get('default_hooks') or {}).get('checkpoint')
    best = checkpoint.get('save_best') if isinstance(checkpoint, Mapping) else None
    lost = f', and default_hooks.checkpoint.save_best={best!r} keeps nothing' if best else ''
    if run.cfg.get('val_cfg') is None:
        if best:
            run.note(f'val_cfg is None, so nothing is evaluated during training{lost}.')
        return
    begin = run.cfg['train_cfg'].get('val_begin', 1)
    if length and begin > length[1]:
        run.note(
            f'train_cfg.val_begin is {begin}, but the run ends after {length[0]} {length[1]}: '
            f'nothing is evaluated during training{lost}.'
        )


def _note_units(run: PlannedRun) -> None:
    """Tell of what counts epochs in a schedule in iterations, which is one epoch as a whole."""
    length = training_length(run.cfg)
    if length is None or length[0] == 'epoch':
        return
    # mmengine has one where the configuration says nothing.
    checkpoint = (run.cfg.get('default_hooks') or {}).get('checkpoint', {})
    if isinstance(checkpoint, Mapping) and checkpoint.get('by_epoch', True):
        run.note(
            'default_hooks.checkpoint.by_epoch is not False, but train_cfg counts iterations: the '
            'first checkpoint is written at the end of the run.'
        )
    for key, scheduler, _ in schedulers_of(run.cfg):
        if scheduler.get('by_epoch', True) and not scheduler.get('convert_to_iter_based'):
            run.note(
                f'{key}.by_epoch is not False, but train_cfg counts iterations: it changes nothing '
                'before the end of the run.'
            )
