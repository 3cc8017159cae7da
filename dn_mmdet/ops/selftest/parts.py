"""The parts of the self-test."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from .. import trust
from ..backends import cpp, triton_launch
from ..backends.kernels import DTYPES
from ..dispatch import PATHS, choose_path, use_path
from ..sc import SCForm
from ..small_maps import LAYOUTS, Case, Deviation, Inputs, cases_for, deviations
from .apart import run_apart
from .shared import run_operator, run_shared, run_two

__all__ = ['GROUPS', 'Row', 'Task', 'run_all']

# What a table shows together.
GROUPS = ('output', 'statistics', 'gradients', 'evaluation')

# For a GPU: several samples a block, parts of several tiles, odd lengths, one place, one sample.
LARGE_CASES = (
    Case((64, 96, 20, 20), 24, 1, SCForm(), 'ReLU'),
    Case((3, 257, 7, 7), 17, 1, SCForm(), None, True),
    Case((70, 24, 5, 3), 12, 4, SCForm(True), 'ReLU6', True),
    Case((4, 1280, 1, 1), 80, 80, SCForm(), 'ReLU6'),
    Case((1, 3, 301, 203), 2, 1, SCForm(), 'ReLU6'),
)


class Task(NamedTuple):
    """What one line of the page is about.

    Attributes:
        part (str): A key of ``PARTS``.
        device (str): Such as 'cuda:0'.
        path (str): One of ``dispatch.PATHS``.
        dtype (str): Such as 'float16'.
        layout (str): A key of ``LAYOUTS``.
    """

    part: str
    device: str
    path: str
    dtype: str
    layout: str


class Row(NamedTuple):
    """What came of it.

    Attributes:
        task (Task): Of this.
        status (str): 'right', 'FAILED' or 'skipped'.
        note (str): What is wrong, or why it was skipped.
        errors (dict[str, float]): The largest of each of ``GROUPS``, where numbers were compared.
        serves (bool): Whether the layers take this path.
    """

    task: Task
    status: str
    note: str
    errors: dict[str, float]
    serves: bool


def run_all(show: Callable[[str], None]) -> list[Row]:
    """Run every part on every device of this machine.

    Args:
        show (Callable): Is told of each part before it runs.

    Returns:
        list[Row]: In the order of the page.
    """
    tasks, skipped = _plan()
    before = os.environ.get(trust.VARIABLE)
    # What was found earlier does not count, and is replaced on the disk.
    os.environ[trust.VARIABLE] = before or 'again'
    found = []
    try:
        outcomes = run_apart(run_part, tasks)
        for number, task in enumerate(tasks, 1):
            show(f'[{number}/{len(tasks)}] {" ".join(task)}')
            found.append((task, *next(outcomes)))
    finally:
        os.environ.pop(trust.VARIABLE)
        if before is not None:
            os.environ[trust.VARIABLE] = before
    serving = {
        task[1:]: result['path'] for task, result, fault in found
        if task.part == 'choice' and not fault
    }  # fmt: skip
    return [_row(*each, serving) for each in found] + [
        Row(task, 'skipped', why, {}, False) for task, why in skipped
    ]


def run_part(task: Task) -> dict[str, object]:
    """Do what a task asks for, in this process.

    Returns:
        dict[str, object]: The 'path' that was taken, and where numbers were compared the largest
        'errors' and what is 'wrong' with them, '' for nothing.
    """
    if task.device.startswith('cuda'):
        torch.cuda.set_device(task.device)
    if task.path in ('cpp', 'triton'):
        with use_path(task.path):  # Loads it.
            pass
    return PARTS[task.part](task)


def _plan() -> tuple[list[Task], list[tuple[Task, str]]]:
    tasks, skipped = [], []
    gpus = [f'cuda:{i}' for i in range(torch.cuda.device_count())]
    for device in ('cpu', *gpus):
        for path in PATHS[1:]:
            dtypes = [*DTYPES, *([torch.float64] if path in ('reference', 'aten') else [])]
            for dtype in map(_name, dtypes):
                for layout in LAYOUTS:
                    task = Task('numbers', device, path, dtype, layout)
                    why = _why_not(task)
                    if not why:
                        tasks.append(task)
                    elif layout == 'contiguous':
                        skipped.append((task._replace(layout='both'), why))
                    if why or dtype == 'float64':
                        continue
                    if path == 'cpp' or (path == 'triton' and device in gpus):
                        tasks.append(task._replace(part='same bits twice'))
                    if device in gpus:
                        tasks.append(task._replace(part='CUDA graph'))
                        if path == 'triton':
                            tasks.append(task._replace(part='large maps'))
        every = [_name(dtype) for dtype in (*DTYPES, torch.float64)]
        tasks += [Task('choice', device, 'auto', d, layout) for d in every for layout in LAYOUTS]
    for device, backend in (('cpu', 'gloo'), ('cuda', 'nccl')):
        task = Task('two processes', device, 'auto', 'float32', 'both')
        if not (dist.is_available() and getattr(dist, f'is_{backend}_available')()):
            skipped.append((task, f'torch was built without {backend}'))
        elif device == 'cuda' and len(gpus) < 2:
            skipped.append((task, 'there are no two GPUs'))
        else:
            tasks.append(task)
    return tasks, skipped


def _why_not(task: Task) -> str:
    if task.path == 'cpp':
        return cpp.why_absent() if task.device == 'cpu' else 'runs on a CPU'
    if task.path != 'triton' or task.device != 'cpu':
        absent = task.path == 'triton' and triton_launch.why_absent()
        x = torch.empty(1, 1, 1, 1, dtype=getattr(torch, task.dtype), device=task.device)
        unfit = task.path == 'triton' and not absent and not triton_launch.supports(x)
        return absent or ('this GPU cannot run it' if unfit else '')
    if triton_launch.why_absent():
        return triton_launch.why_absent()
    x = torch.empty(1, 1, 1, 1)
    return '' if triton_launch.supports(x) else 'runs on NVIDIA GPUs, or with TRITON_INTERPRET=1'


def _numbers(task: Task) -> dict[str, object]:
    return _compare(task, partial(run_operator, task.path))


def _large(task: Task) -> dict[str, object]:
    return _compare(task, partial(run_operator, task.path), LARGE_CASES)


def _same_bits(task: Task) -> dict[str, object]:
    differing = []

    def run(given: Inputs, case: Case, mode: str) -> dict[str, Tensor]:
        again = given._replace(running=tuple(tensor.clone() for tensor in given.running))
        first, second = (run_operator(task.path, g, case, mode) for g in (given, again))
        differing.extend(
            f'{name} in {mode} differs for a map of size {case.shape}'
            for name, tensor in first.items()
            if not torch.equal(tensor, second[name])
        )
        return first

    result = _compare(task, run)
    return result | {'wrong': differing[0]} if differing else result


def _graph(task: Task) -> dict[str, object]:
    return _compare(task, partial(_run_recorded, task.path))


def _run_recorded(path: str, given: Inputs, case: Case, mode: str) -> dict[str, Tensor]:
    """The layer out of a CUDA graph that was recorded with other numbers in its inputs."""
    running = tuple(tensor.clone() for tensor in given.running)
    own = given._replace(x=given.x + 1, running=running)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run_operator(path, own, case, mode)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = run_operator(path, own, case, mode)
    for written, tensor in ((own.x, given.x), *zip(running, given.running)):
        written.copy_(tensor)
    graph.replay()
    return results


def _choice(task: Task) -> dict[str, object]:
    x = torch.zeros(2, 3, 4, 5, dtype=getattr(torch, task.dtype), device=task.device)
    return {'path': choose_path(x.contiguous(memory_format=LAYOUTS[task.layout]))}


def _two_processes(task: Task) -> dict[str, object]:
    backend = 'gloo' if task.device == 'cpu' else 'nccl'
    results = run_two(compare_shared, backend, task)
    return max(results, key=lambda result: bool(result['wrong']))


def compare_shared(backend: str, task: Task) -> dict[str, object]:
    """What one of two processes finds; see :func:`.shared.run_two`."""
    device = 'cpu' if backend == 'gloo' else f'cuda:{dist.get_rank()}'
    found = [
        _compare(task._replace(device=device, layout=layout), run_shared) for layout in LAYOUTS
    ]
    return max(found, key=lambda result: bool(result['wrong']))


PARTS = {
    'numbers': _numbers,
    'same bits twice': _same_bits,
    'CUDA graph': _graph,
    'large maps': _large,
    'choice': _choice,
    'two processes': _two_processes,
}


def _compare(
    task: Task,
    run: Callable[[Inputs, Case, str], dict[str, Tensor]],
    cases: tuple[Case, ...] = (),
) -> dict[str, object]:
    device = torch.device(task.device)
    dtype = getattr(torch, task.dtype)
    cases = cases or cases_for(task.path, device)
    found = list(deviations(run, device, dtype, task.layout, cases))
    errors = {}
    for deviation in found:
        group = _group(deviation)
        # NaN is larger than all.
        errors[group] = max(errors.get(group, 0.0), deviation.error, key=lambda e: (e != e, e))
    wrong = [deviation for deviation in found if deviation.is_wrong]
    return {'path': task.path, 'errors': errors, 'wrong': str(wrong[0]) if wrong else ''}


def _group(deviation: Deviation) -> str:
    if deviation.mode == 'evaluation':
        return 'evaluation'
    if deviation.name.startswith('gradient'):
        return 'gradients'
    return 'statistics' if deviation.name.startswith('running') else 'output'


def _row(task: Task, result: dict | None, fault: str, serving: dict[tuple, str]) -> Row:
    result = result or {}
    wrong = fault or result.get('wrong', '')
    if task.part == 'choice':
        return Row(task._replace(path=result.get('path', 'auto')), _status(wrong), wrong, {}, True)
    _, device, path, dtype, layout = task
    chosen = serving.get((device, 'auto', dtype, layout))
    serves = path in (chosen, 'auto')
    return Row(task, _status(wrong), wrong, result.get('errors', {}), serves)


def _status(wrong: str) -> str:
    return 'FAILED' if wrong else 'right'


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')
