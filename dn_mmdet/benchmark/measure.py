"""Time and memory of norms that take turns, whatever they are part of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..ops.dispatch import use_path
from .case import Case
from .memory import measure_memory
from .timing import choose_number, summarize_times, time_interleaved

__all__ = ['Subject', 'measure_subjects']


@dataclass(frozen=True)
class Subject:
    """A layer or a model with one norm, ready to run.

    Attributes:
        norm (str): Its name in the results.
        step (Callable[[], object]): What is timed. It leaves no gradient behind.
        forward (Callable[[], Tensor]): Returns the loss, in evaluation the output.
        backward (Callable[[Tensor], object], optional): Takes the loss; None in evaluation.
        path (str, optional): Path of DN-B's operator that in fact runs; None for other norms.
        asked_path (str): Path that is asked for while it runs. Defaults to 'auto'.
        model (nn.Module, optional): What runs in the step. Defaults to None.
    """

    norm: str
    step: Callable[[], object]
    forward: Callable[[], Tensor]
    backward: Callable[[Tensor], object] | None = None
    path: str | None = None
    asked_path: str = 'auto'
    model: nn.Module | None = None


def measure_subjects(
    subjects: dict[str, Subject],
    case: Case,
    device: torch.device,
    number: int | None = None,
    settle: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """Time subjects, interleaved, then measure the memory of each.

    Args:
        subjects (dict[str, Subject]): Label to subject, the baseline first. It is emptied, so that
            what was measured makes room.
        case (Case): Says how many rounds.
        device (torch.device): Where they run.
        number (int, optional): Calls in a row that make one time. Defaults to as many as a clock
            can tell, for the baseline.
        settle (int): Untimed calls before each time, see :func:`time_interleaved`.
            Defaults to 0.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.

    Returns:
        list[dict]: For each subject ``norm``, ``path``, the numbers of :class:`Timing` and, in
        bytes, ``saved`` (None in evaluation) and ``peak``, with their ratios to the baseline.
    """
    calls = {label: subject.step for label, subject in subjects.items()}
    baseline = next(iter(calls))
    times = time_interleaved(
        calls,
        repeats=case.repeats,
        warmup=case.warmup,
        number=number or choose_number(calls[baseline], device=device),
        settle=settle,
        device=device,
        context=lambda label: use_path(subjects[label].asked_path),
        progress=progress,
    )
    del calls
    rows: list[dict] = []
    for label, timing in summarize_times(times, baseline).items():
        subject = subjects.pop(label)
        with use_path(subject.asked_path):
            memory = measure_memory(subject.forward, subject.backward, device)._asdict()
        if subject.backward is None:
            memory['saved'] = None
        base = rows[0] if rows else memory
        ratios = {
            f'{key}_ratio': value / base[key] if value is not None and base[key] else None
            for key, value in memory.items()
        }
        rows.append(
            dict(norm=subject.norm, path=subject.path, **asdict(timing), **memory, **ratios)
        )
    return rows
