"""Seconds of a training step, as a ratio between models."""

from functools import partial
from itertools import cycle
from statistics import median

import torch
from mmengine.registry import MODELS

from ..ops.benchmark import time_interleaved

__all__ = ['time_training_steps']


def time_training_steps(models, batches, repeats=15, warmup=3, progress=None):
    """Time forward, loss and backward of several models, interleaved in this process.

    The models take turns on the same batches, so that a change of the machine's speed meets all
    of them.

    Args:
        models (dict[str, dict]): label to model config; each is built anew, at its start.
        batches (Sequence[dict]): batches of the training data loader, used in turn.
        repeats (int): timed steps of each model. Default: 15.
        warmup (int): untimed steps before. Default: 3.
        progress (Callable[[int, int], None], optional): told the rounds that are done, of all.

    Returns:
        dict[str, float]: median seconds of a step.
    """
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    steps = {
        label: partial(_step, MODELS.build(cfg).to(device).train(), cycle(batches))
        for label, cfg in models.items()
    }
    seconds = time_interleaved(
        steps, repeats=repeats, warmup=warmup, device=device, progress=progress
    )
    return {label: median(times) for label, times in seconds.items()}


def _step(model, batches):
    data = model.data_preprocessor(next(batches), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    model.zero_grad()
