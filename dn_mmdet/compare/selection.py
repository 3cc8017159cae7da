"""Which of the folders given are compared, and a sentence for each that is not."""

from collections.abc import Sequence
from pathlib import Path

from ..engine.errors import UserError
from .groups import Group
from .read_run import LeftOut, read_run
from .runs import Run

__all__ = ['common_step', 'finished_groups', 'need_two', 'read_runs']


def read_runs(work_dirs: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Read each folder once; the second result says why some are left out."""
    folders: dict[Path, str] = {}
    for work_dir in sorted(map(str, work_dirs)):
        folders.setdefault(Path(work_dir).resolve(), work_dir)
    runs, left_out = [], []
    for work_dir in folders.values():
        try:
            run = read_run(work_dir)
        except LeftOut as reason:
            left_out.append(str(reason))
            continue
        if run.steps or run.diverged:
            runs.append(run)
        else:
            left_out.append(
                f'{work_dir}: it ended before its first evaluation, at iteration '
                f'{max(run.log.train)}.'
            )
    return runs, left_out


def need_two(found: Sequence, missing: str, left_out: Sequence[str]) -> None:
    """Refuse to compare what is alone.

    Raises:
        UserError: ``missing``, with the reason of each folder that was left out.
    """
    if len(found) < 2:
        raise UserError('\n- '.join([missing, *left_out]))


def finished_groups(groups: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """Leave unfinished runs out, unless fewer than two groups can do without them."""
    whole = [
        (group, tuple(run for run in group.runs if run.finished or run.diverged))
        for group in groups
    ]
    if sum(bool(runs) for _, runs in whole) < 2:
        return list(groups), []
    sentences = [
        f'{run.work_dir}: it is not finished, {run.last} of {run.planned} '
        f'{"epochs" if run.by_epoch else "iterations"}; --resume goes on with it.'
        for group, runs in whole
        for run in group.runs
        if run not in runs
    ]
    return [Group(group.label, runs) for group, runs in whole if runs], sentences


def common_step(groups: Sequence[Group]) -> int | None:
    """The last step that all runs were evaluated at; None where all are finished.

    Raises:
        UserError: there is none.
    """
    runs = [run for group in groups for run in group.usable]
    if all(run.finished for run in runs):
        return None
    shared = set.intersection(*(set(run.steps) for run in runs))
    if not shared or len({run.by_epoch for run in runs}) > 1:
        raise UserError(
            'not all runs are finished, and no evaluation is common to all: '
            + '; '.join(f'{run.work_dir} has {", ".join(map(str, run.steps))}' for run in runs)
            + '.'
        )
    return max(shared)
