"""Bytes that a forward pass keeps for its backward, and the most that a step holds at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile, record_function

__all__ = ['Memory', 'measure_memory']

BETWEEN = 'dn_mmdet::between_forward_and_backward'


class Memory(NamedTuple):
    """What a step allocates; what was there before does not count.

    Attributes:
        saved (int): Bytes allocated in the forward pass and still there at its end.
        peak (int): The most bytes at a time.
    """

    saved: int
    peak: int


def measure_memory(
    forward: Callable[[], Tensor],
    backward: Callable[[Tensor], object] | None = None,
    device: torch.device | str = 'cpu',
) -> Memory:
    """Run a step under the eyes of the allocator.

    The allocator is asked, not autograd, so it does not matter what holds a saved tensor: a node
    of the graph, a hook or a cache. Run the step once before, since first calls allocate
    workspaces that stay.

    Args:
        forward (Callable[[], Tensor]): Returns the loss alone, so that nothing else stays alive.
        backward (Callable[[Tensor], object], optional): Takes the loss. Defaults to none, for
            evaluation.
        device (torch.device | str): 'cpu' reads the memory records of torch.profiler, 'cuda' the
            statistics of the caching allocator, which rounds up to 512 bytes. Defaults to
            'cpu'.

    Returns:
        Memory: Bytes.
    """
    device = torch.device(device)
    return (_measure_cuda if device.type == 'cuda' else _measure_cpu)(forward, backward, device)


def _measure_cuda(
    forward: Callable[[], Tensor], backward: Callable[[Tensor], object] | None, device: torch.device
) -> Memory:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    loss = forward()
    saved = torch.cuda.memory_allocated(device) - before
    if backward:
        backward(loss)
    del loss
    return Memory(saved, torch.cuda.max_memory_allocated(device) - before)


def _measure_cpu(
    forward: Callable[[], Tensor], backward: Callable[[Tensor], object] | None, device: torch.device
) -> Memory:
    # Otherwise libkineto writes two lines to the terminal each time.
    os.environ.setdefault('KINETO_LOG_LEVEL', '99')
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        loss = forward()
        with record_function(BETWEEN):
            pass
        if backward:
            backward(loss)
        del loss
    # The summed events of the public interface lose the order of what one operator allocates.
    events = profiler.profiler.kineto_results.events()
    between = next(_start(event) for event in events if event.name() == BETWEEN)
    changes = sorted(
        (_start(event), number, event.nbytes())
        for number, event in enumerate(events)
        if event.name() == '[memory]' and event.device_type() == torch.autograd.DeviceType.CPU
    )
    held = saved = peak = 0
    for when, _, change in changes:
        held += change
        peak = max(peak, held)
        if when < between:
            saved = held
    return Memory(saved, peak)


def _start(event: Any) -> int:
    # Before torch 2.3 in microseconds.
    return event.start_ns() if hasattr(event, 'start_ns') else event.start_us()
