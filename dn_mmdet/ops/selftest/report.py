"""The page that the self-test prints."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

import torch

from ...utils.text import markdown_table
from ...version import __version__
from .. import verdicts
from ..backends import cpp, triton_launch
from .parts import GROUPS, Row

__all__ = ['failures', 'page']

# Variables that change which kernels run, or how.
PREFIXES = ('DN_MMDET_', 'TRITON_', 'TORCH_', 'PYTORCH_', 'CUDA_', 'NVIDIA_TF32', 'NCCL_', 'OMP_')


def page(rows: Sequence[Row]) -> str:
    """Versions, tables and a verdict, in Markdown.

    Args:
        rows (Sequence[Row]): What was found.
    """
    run = [row for row in rows if row.status != 'skipped' and row.task.part != 'choice']
    numbers = [row for row in run if row.task.part == 'numbers']
    others = [row for row in run if row.task.part != 'numbers']
    texts = [
        '# dn_mmdet self-test',
        '\n'.join(f'- {line}' for line in _environment()),
        'The largest errors, each relative to the largest number of its tensor. A star is before '
        'the path that the layers take.',
        markdown_table([
            ('device', 'path', 'dtype', 'layout', *GROUPS, 'result'), *map(_of_numbers, numbers),
        ]),
        markdown_table([
            ('part', 'device', 'path', 'dtype', 'layout', 'largest error', 'result'),
            *map(_of_others, others),
        ]),
    ]  # fmt: skip
    for status, heading in (('FAILED', 'Failed'), ('skipped', 'Skipped')):
        notes = _notes([row for row in rows if row.status == status])
        if notes:
            texts.append('\n'.join((f'{heading}:', '', *notes)))
    wrong = failures(rows)
    texts.append(
        'The paths that would serve are right.'
        if not wrong
        else f'WRONG: {len(wrong)} of the checks of what would serve failed. Set DN_MMDET_OPS='
        'reference, and report this page.'
    )
    return '\n\n'.join(texts)


def failures(rows: Sequence[Row]) -> list[Row]:
    """What failed of the paths that the layers would take."""
    return [row for row in rows if row.serves and row.status == 'FAILED']


def _of_numbers(row: Row) -> tuple[str, ...]:
    _, device, path, dtype, layout = row.task
    errors = (f'{row.errors[name]:.1e}' if name in row.errors else '' for name in GROUPS)
    return device, f'{"* " * row.serves}{path}', dtype, layout, *errors, row.status


def _of_others(row: Row) -> tuple[str, ...]:
    largest = f'{max(row.errors.values()):.1e}' if row.errors else ''
    return *row.task, largest, row.status


def _notes(rows: Sequence[Row]) -> list[str]:
    """A line for each reason, with all that it is the reason of."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        part, device, path, dtype, layout = row.task
        name = f'{device} {path}' if row.status == 'skipped' else ' '.join(row.task)
        named = reasons.setdefault(row.note, [])
        if name not in named:
            named.append(name)
    return [f'- {", ".join(names)}: {reason}' for reason, names in reasons.items()]


def _environment() -> list[str]:
    variables = {name: os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIXES)}
    lines = [
        f'dn_mmdet {__version__} (operators {verdicts.code_digest()}), torch {torch.__version__}, '
        f'Triton {triton_launch.version() or "none"}, Python {platform.python_version()}',
        f'{platform.platform()}, {torch.backends.cpu.get_cpu_capability()}, '
        f'{torch.get_num_threads()} threads; C++ operators: {cpp.why_absent() or "there"}',
        f'CUDA {torch.version.cuda or "none"}, driver {verdicts.driver_version() or "none"}',
    ]
    for i in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(i)
        memory = found.total_memory / 2**30
        lines.append(f'cuda:{i}: {found.name}, {found.major}.{found.minor}, {memory:.0f} GiB')
    text = ', '.join(f'{name}={value}' for name, value in variables.items())
    return [*lines, f'variables: {text or "none"}']
