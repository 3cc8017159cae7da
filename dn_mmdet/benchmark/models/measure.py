"""The measurement of one cell."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import cycle
from statistics import median

import torch
from mmengine.registry import MODELS

from ...ops import use_path
from ...utils.errors import UserError
from .. import measure_memory, summarise_times, time_interleaved
from .build import build_subject, why_not
from .cells import BASELINE, MOBILENET, NORMS, SETTLE, Cell

__all__ = ['measure_cell', 'time_training_steps']


def measure_cell(
    cell: Cell, device: torch.device, progress: Callable[[int, int], None] | None = None
) -> dict:
    """Time a model with each norm, interleaved, and measure its memory.

    Args:
        cell (Cell): what is measured.
        device (torch.device): where.
        progress (Callable[[int, int], None], optional): told the rounds that are done, of all.

    Returns:
        dict: attributes of the cell; ``rows``, for each norm ``norm`` (key of ``NORMS``),
        ``path``, the numbers of :class:`dn_mmdet.ops.benchmark.Timing` and, in bytes, ``saved``
        (None in evaluation) and ``peak`` with their ratios to BN; ``left_out``, norm to the
        reason for which it is missing.

    Raises:
        UserError: the model cannot be built, or does not run on such an input.
    """
    left_out = {norm: reason for norm in cell.norms if (reason := why_not(cell, norm))}
    try:
        subjects = {
            norm: build_subject(cell, norm, device) for norm in cell.norms if norm not in left_out
        }
        times = time_interleaved(
            {norm: subject.step for norm, subject in subjects.items()},
            repeats=cell.repeats,
            warmup=cell.warmup,
            settle=SETTLE,
            device=device,
            progress=progress,
            context=lambda norm: use_path(NORMS[norm].path),
        )
        rows = []
        for norm, timing in summarise_times(times, BASELINE).items():
            subject = subjects.pop(norm)
            with use_path(NORMS[norm].path):
                memory = _memory(subject, cell, device)
            base = rows[0] if rows else memory
            rows.append(
                dict(
                    norm=norm,
                    path=subject.path,
                    **asdict(timing),
                    **memory,
                    **{
                        f'{key}_ratio': None if value is None else value / base[key]
                        for key, value in memory.items()
                    },
                )
            )
    except UserError:
        raise
    # Too little memory, or whatever a model says of an input that it cannot take.
    except Exception as error:
        if cell.model == MOBILENET and not isinstance(error, (RuntimeError, ValueError)):
            raise
        raise UserError(
            f'{cell.name}: the model does not run ({_text(error)}); choose another '
            'batch size, resolution, dtype or device.'
        ) from error
    return dict(asdict(cell), rows=rows, left_out=left_out)


def _memory(subject, cell, device):
    if cell.mode == 'eval':
        peak = measure_memory(subject.forward, device=device).peak
        return dict(saved=None, peak=peak)
    memory = measure_memory(subject.forward, torch.Tensor.backward, device)
    return memory._asdict()


def _text(error):
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text[:200]}'


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
