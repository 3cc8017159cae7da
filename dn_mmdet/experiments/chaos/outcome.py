"""What a run leaves, to be compared bit for bit with what another one left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ...engine.checkpoint_file import meta_of, read_checkpoint
from ...runs.log import read_run_log

__all__ = ['last_iteration', 'unlike']

# Of a row of a log, what no two runs have in common.
TIMES = {'time', 'data_time', 'eta', 'memory'}


def unlike(first: Path, second: Path) -> list[str]:
    """Where two runs differ.

    Args:
        first (Path): Work folder of one.
        second (Path): Of the other.

    Returns:
        list[str]: Names of weights, of parts of the optimizer's state, of log rows; empty where
        all of them are the same bit for bit, the metrics too.
    """
    one, other = (dict(_leaves(_outcome(folder))) for folder in (first, second))
    return [
        name
        for name in sorted(one.keys() | other.keys())
        if name not in one or name not in other or not _same(one[name], other[name])
    ]


def last_iteration(work_dir: Path) -> int:
    """How many iterations the checkpoint has that ``--resume`` would take; 0 without any."""
    if not (work_dir / 'last_checkpoint').is_file():
        return 0
    return meta_of(_last_checkpoint(work_dir))['iter']


def _last_checkpoint(work_dir: Path) -> dict[str, Any]:
    return read_checkpoint((work_dir / 'last_checkpoint').read_text(), 'last_checkpoint')


def _outcome(work_dir: Path) -> dict[str, Any]:
    content = _last_checkpoint(work_dir)
    log = read_run_log(work_dir)
    return dict(
        {key: content[key] for key in ('state_dict', 'optimizer')},
        param_schedulers=repr(content['param_schedulers']),
        place=[meta_of(content)[key] for key in ('epoch', 'iter', 'seed')],
        checkpoints=sorted(path.name for path in work_dir.glob('*.pth')),
        log={
            part: {
                step: {key: value for key, value in row.items() if key not in TIMES}
                for step, row in rows.items()
            }
            for part, rows in (('train', log.train), ('val', log.val))
        },
    )


def _leaves(node: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f'{name}.{key}' if name else str(key))
    else:
        yield name, node


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    # NaN is what it is: a metric that nothing was measured for.
    return type(one) is type(other) and repr(one) == repr(other)
