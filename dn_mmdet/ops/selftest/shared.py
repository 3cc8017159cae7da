"""Two processes that share their statistics, each with a part of the samples."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..dispatch import use_path
from ..functional import dynamic_batch_norm
from ..sc import SC_INPUTS
from ..small_maps import EPS, MOMENTUM, Case, Inputs, named

__all__ = ['run_operator', 'run_shared', 'run_two']

SECONDS = 100


def run_operator(
    path: str, given: Inputs, case: Case, mode: str, group: dist.ProcessGroup | None = None
) -> dict[str, Tensor]:
    """The layer by the public function and by autograd.

    Args:
        path (str): One of ``dispatch.PATHS``.
        given (Inputs): The running statistics are written to in training.
        case (Case): The layer.
        mode (str): One of ``MODES``.
        group (ProcessGroup, optional): Its processes share their statistics. Defaults to None.

    Returns:
        dict[str, Tensor]: As of :func:`..small_maps.run_kernels`.
    """
    leaves = [tensor.detach() for tensor in (given.x, *given.weights)]
    for leaf in leaves:
        leaf.requires_grad_(mode != 'evaluation')
    with use_path(path):
        y = dynamic_batch_norm(
            leaves[0], *given.running, *leaves[1:], training=mode == 'training',
            momentum=MOMENTUM, eps=EPS, sc_input=SC_INPUTS[case.form.normalized],
            detach_gap=case.detach_gap, activation=case.activation, group=group,
            fc1_scale=case.form.fc1_scale, fc2_scale=case.form.fc2_scale,
        )  # fmt: skip
        if mode == 'evaluation':
            return {'output': y}
        return named(y, given.running, torch.autograd.grad(y, leaves, given.dy))


def run_two(work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What ``work(*arguments)`` returns in each of two processes that can reach each other.

    Args:
        work (Callable): Found by its name in its module.
        *arguments: The first is the name of the backend, 'gloo' or 'nccl'.
    """
    results = torch.multiprocessing.get_context('spawn').SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_join, (folder, results, work, arguments), nprocs=2)
    return [results.get(), results.get()]


def run_shared(given: Inputs, case: Case, mode: str) -> dict[str, Tensor]:
    """:func:`run_operator` on this process's samples, put together with what the others found."""
    rank, cut = dist.get_rank(), len(given.x) // 2
    part = slice(cut) if rank == 0 else slice(cut, None)
    own = given._replace(x=given.x[part], dy=given.dy[part])
    found = run_operator('auto', own, case, mode, dist.group.WORLD)
    # In one exchange; the running statistics are the same in both.
    whole = {}
    for name in found.keys() - {'running_mean', 'running_var'}:
        whole[name] = found[name].float()
        if whole[name].shape == own.x.shape:
            whole[name] = torch.zeros_like(given.x, dtype=torch.float32)
            whole[name][part] = found[name]
    names = sorted(whole)
    row = torch.cat([whole[name].flatten() for name in names])
    dist.all_reduce(row)
    parts = row.split([whole[name].numel() for name in names])
    return found | {name: part.view(whole[name].shape) for name, part in zip(names, parts)}


def _join(rank: int, folder: str, results: Any, work: Callable[..., Any], arguments: tuple) -> None:
    if arguments[0] == 'nccl':
        torch.cuda.set_device(rank)
    dist.init_process_group(
        arguments[0],
        init_method=f'file://{folder}/store',
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=SECONDS),
    )
    try:
        results.put(work(*arguments))
        # The files of the store are in use until both are done.
        dist.barrier()
    finally:
        dist.destroy_process_group()
