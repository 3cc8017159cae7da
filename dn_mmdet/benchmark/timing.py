"""Times of several callables that take turns in one process.

A machine's speed drifts, so only ratios between what ran side by side mean something.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median, quantiles

import torch

from ..utils.python39 import zip_strict

__all__ = ['Timing', 'choose_number', 'summarize_times', 'time_interleaved']


@dataclass(frozen=True)
class Timing:
    """Times of one callable, and their ratio to a baseline.

    Attributes:
        seconds (float): Median over the rounds.
        seconds_q1 (float): Lower quartile.
        seconds_q3 (float): Upper quartile.
        ratio (float): Median over the baseline's median.
        ratio_q1 (float): Lower quartile over rounds of the ratio to the baseline in the same
            round.
        ratio_q3 (float): Upper quartile of it.
        rounds (int): Number of timed rounds.
    """

    seconds: float
    seconds_q1: float
    seconds_q3: float
    ratio: float
    ratio_q1: float
    ratio_q3: float
    rounds: int


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 9,
    warmup: int = 3,
    number: int = 1,
    settle: int = 0,
    device: torch.device | str = 'cpu',
    context: Callable[[str], AbstractContextManager] = lambda label: nullcontext(),
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each callable in each round.

    In a round every callable runs once. Every other round goes backwards, and pairs of rounds
    begin with another callable, so that none is always first or behind the same one.

    Args:
        calls (Mapping[str, Callable]): Label to what is timed, which takes no argument.
        repeats (int): Timed rounds. Defaults to 9.
        warmup (int): Untimed rounds before. Defaults to 3.
        number (int): Calls in a row that make one time, which is divided by it. Defaults to 1.
        settle (int): Untimed calls before each time. What ran before leaves the allocator and the
            caches in its own state, which on a CPU can change a time by a fifth. Defaults to 0.
        device (torch.device | str): Where the work is done: on 'cuda' times are those between two
            events of the current stream. Defaults to 'cpu'.
        context (Callable): Label to a context manager that is entered around the calls, outside
            the time. Defaults to none.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.
        clock (Callable[[], float]): Seconds, on a CPU. Defaults to ``time.perf_counter``.

    Returns:
        dict[str, list[float]]: Label to seconds of the timed rounds, in their order.

    Raises:
        ValueError: There is nothing to time, or a number is out of range.
    """
    least = {'repeats': 1, 'warmup': 0, 'number': 1, 'settle': 0}
    for name, value in zip_strict(least, (repeats, warmup, number, settle)):
        if value < least[name]:
            raise ValueError(f'{name} must be {least[name]} or more, got {value}')
    if not calls:
        raise ValueError('calls must hold at least one callable, got none')
    measure = _stopwatch(device, clock)
    labels = list(calls)
    times: dict[str, list[float]] = {label: [] for label in labels}
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for i in range(warmup + repeats):
            for label in _order(labels, i):
                with context(label):
                    for _ in range(settle):
                        calls[label]()
                    times[label].append(measure(calls[label], number))
            if progress:
                progress(i + 1, warmup + repeats)
    finally:
        if collects:
            gc.enable()
    return {label: seconds[warmup:] for label, seconds in times.items()}


def choose_number(
    call: Callable[[], object],
    at_least: float = 0.005,
    device: torch.device | str = 'cpu',
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """How many calls in a row take a time that a clock can tell.

    Args:
        call (Callable): What will be timed; it is called a few times.
        at_least (float): Seconds that they should take. Defaults to 0.005.
        device (torch.device | str): As in :func:`time_interleaved`.
        clock (Callable[[], float]): As there.

    Returns:
        int: The number of calls.
    """
    measure = _stopwatch(device, clock)
    measure(call, 1)  # Allocations and caches of the first call tell nothing.
    number = 1
    while (seconds := measure(call, number) * number) < at_least:
        number = max(2 * number, math.ceil(number * at_least / max(seconds, 1e-9) / 2))
    return number


def summarize_times(times: Mapping[str, Sequence[float]], baseline: str) -> dict[str, Timing]:
    """Medians, quartiles and ratios of what :func:`time_interleaved` returned.

    Args:
        times (Mapping[str, Sequence[float]]): Label to seconds, one for each round.
        baseline (str): The label that the others are compared with.

    Returns:
        dict[str, Timing]: Label to its numbers.

    Raises:
        ValueError: The baseline was not timed.
    """
    if baseline not in times:
        raise ValueError(f'baseline must be one of {", ".join(times)}, got {baseline!r}')
    base = times[baseline]
    found = {}
    for label, seconds in times.items():
        ratios = [a / b for a, b in zip_strict(seconds, base)]
        q1, q3 = _quartiles(seconds)
        ratio_q1, ratio_q3 = _quartiles(ratios)
        ratio = median(seconds) / median(base)
        found[label] = Timing(median(seconds), q1, q3, ratio, ratio_q1, ratio_q3, len(seconds))
    return found


def _order(labels: list[str], i: int) -> list[str]:
    first = i // 2 % len(labels)
    order = labels[first:] + labels[:first]
    return order[::-1] if i % 2 else order


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    q1, _, q3 = quantiles(values, n=4, method='inclusive')
    return q1, q3


def _stopwatch(
    device: torch.device | str, clock: Callable[[], float]
) -> Callable[[Callable[[], object], int], float]:
    """A function that measures the seconds of a call, from a number of them."""
    device = torch.device(device)
    if device.type == 'cpu':

        def measure(call: Callable[[], object], number: int) -> float:
            start = clock()
            for _ in range(number):
                call()
            return (clock() - start) / number

    elif device.type == 'cuda':
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

        def measure(call: Callable[[], object], number: int) -> float:
            stream = torch.cuda.current_stream(device)
            # The queue is empty at the start: what the host takes to launch counts too.
            torch.cuda.synchronize(device)
            begin.record(stream)
            for _ in range(number):
                call()
            end.record(stream)
            end.synchronize()
            return begin.elapsed_time(end) / 1e3 / number

    else:
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device.type!r}")
    return measure
