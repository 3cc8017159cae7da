"""A run whose loss is NaN or infinite stops, and says where and what to lower."""

import math

import torch
from mmengine.dist import all_gather_object, all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from .divergence import diverged

__all__ = ['InvalidLossHook']


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a run in the iteration whose loss is not finite.

    mmdet's ``CheckInvalidLossHook`` looks at every 50th iteration of one process. This one looks
    at every iteration: RuntimeInfoHook has fetched the losses from the device by then. In a
    distributed run all processes stop together, which costs them an all-reduce of one number in
    each iteration. An infinite *gradient*, which a dynamic loss scale makes and skips, does not
    stop a run.

    Raises:
        DivergedError: With the iteration, the losses, the learning rate, what to lower, and the
            checkpoint to go on from.
    """

    # Behind RuntimeInfoHook; before averages, logs and checkpoints take the iteration over.
    priority = 'HIGH'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Look at every output that has 'loss' in its name."""
        losses = {
            key: _value(runner, key, value)
            for key, value in (outputs or {}).items()
            if 'loss' in key
        }
        finite = all(map(math.isfinite, losses.values()))
        told = _first_told(None if finite else _describe(losses))
        if told is not None:
            iteration = runner.iter + 1
            raise diverged(
                runner,
                f'{told} at iteration {iteration} (epoch {runner.epoch + 1})',
                iteration,
                updates=runner.iter,
            )


def _value(runner, key: str, value) -> float:
    name = f'train/{key}'
    if name in runner.message_hub.log_scalars:
        return float(runner.message_hub.get_scalar(name).current())
    return float(value)  # without RuntimeInfoHook


def _describe(losses: dict[str, float]) -> str:
    parts = ', '.join(f'{key} {value:.4g}' for key, value in losses.items() if key != 'loss')
    total = losses.get('loss')
    name = 'a part of the loss is not finite' if total is None else f'the loss is {total:.4g}'
    return f'{name} ({parts})' if parts else name


def _first_told(text: str | None) -> str | None:
    """What the first process with something to tell has to tell, in every process."""
    if get_world_size() == 1:
        return text
    anyone = torch.tensor([0.0 if text is None else 1.0])
    all_reduce(anyone)
    if not anyone.item():
        return None
    return next(told for told in all_gather_object(text) if told is not None)
