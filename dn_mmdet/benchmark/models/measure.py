"""The measurement of one case, and of the training steps of given models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import cycle
from statistics import median

import torch
from mmengine.registry import MODELS
from torch import nn

from ...utils.errors import UserError
from ...utils.text import error_line
from ..environment import process_settings
from ..inside import time_layers
from ..measure import measure_subjects
from ..timing import time_interleaved
from .build import build_subject, why_not
from .cases import MOBILENET, NORMS, SETTLE, ModelCase

__all__ = ['measure_case', 'time_training_steps']


def measure_case(
    case: ModelCase, device: torch.device, progress: Callable[[int, int], None] | None = None
) -> dict:
    """Time a model with each norm, interleaved, and measure its memory.

    Args:
        case (ModelCase): What is measured.
        device (torch.device): Where.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.

    Returns:
        dict: Attributes of the case; ``rows`` as :func:`measure_subjects` returns them, ``norm``
        being a key of ``NORMS``; ``left_out``, norm to the reason for which it is missing; where
        the case has rounds for them, on a CPU, ``layers``, as :func:`time_layers` returns it.

    Raises:
        UserError: The model cannot be built, or does not run on such an input.
    """
    left_out = {norm: reason for norm in case.norms if (reason := why_not(case, norm))}
    norms = [norm for norm in case.norms if norm not in left_out]
    layers = {}
    try:
        with process_settings(case.threads):
            if case.compile:
                torch.compiler.reset()  # so many models of one kind are compiled and no more
            subjects = {norm: build_subject(case, norm, device) for norm in norms}
            # On a GPU a step is only asked for, and done later.
            if case.layer_rounds and device.type == 'cpu':
                types = {norm: MODELS.get(NORMS[norm].cfg['type']) for norm in norms}
                layers['layers'] = time_layers(subjects, types, case.layer_rounds, settle=SETTLE)
            rows = measure_subjects(
                subjects, case, device, number=1, settle=SETTLE, progress=progress
            )
    except UserError:
        raise
    # Too little memory, or whatever a model says of an input that it cannot take.
    except Exception as error:
        if case.model == MOBILENET and not isinstance(error, (RuntimeError, ValueError)):
            raise
        raise UserError(
            f'{case.name}: the model does not run ({error_line(error)}); choose another '
            'batch size, resolution, dtype or device.'
        ) from error
    return dict(asdict(case), rows=rows, left_out=left_out, **layers)


def time_training_steps(
    models: Mapping[str, Mapping],
    batches: Sequence[Mapping],
    repeats: int = 15,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Time forward, loss and backward of several models, interleaved in this process.

    The models take turns on the same batches, so a change of the machine's speed affects all of
    them.

    Args:
        models (Mapping[str, Mapping]): Label to model config; each is built again, at its start.
        batches (Sequence[Mapping]): Batches of the training data loader, used in turn.
        repeats (int): Timed steps of each model. Defaults to 15.
        warmup (int): Untimed steps before. Defaults to 3.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.

    Returns:
        dict[str, float]: Median seconds of a step.
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


def _step(model: nn.Module, batches: Iterator[Mapping]) -> None:
    data = model.data_preprocessor(next(batches), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    model.zero_grad()
