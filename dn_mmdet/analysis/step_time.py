"""Seconds of a training step, as a ratio between models."""

import time
from statistics import median

import torch
from mmengine.registry import MODELS

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
    built = {label: MODELS.build(cfg).to(device).train() for label, cfg in models.items()}
    seconds = {label: [] for label in models}
    for i in range(warmup + repeats):
        batch = batches[i % len(batches)]
        for label, model in built.items():
            start = time.perf_counter()
            data = model.data_preprocessor(batch, training=True)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
            loss.backward()
            if device.type == 'cuda':
                torch.cuda.synchronize()
            seconds[label].append(time.perf_counter() - start)
            model.zero_grad()
        if progress:
            progress(i + 1, warmup + repeats)
    return {label: median(times[warmup:]) for label, times in seconds.items()}
