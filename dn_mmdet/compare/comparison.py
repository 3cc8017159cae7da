"""From work folders to what a report says, before it is written in any form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runs.config import ConfigDifference, differences, is_expected
from ..runs.run import Run
from ..utils.errors import UserError
from .claims import Claim, judge
from .groups import (
    Group,
    common_step,
    finished_groups,
    group_runs,
    need_two,
    read_runs,
    split_by_data,
)
from .metrics import choose_metric, digits_of

if TYPE_CHECKING:
    from .images.predictions import Predictions
from pathlib import Path

__all__ = ['Comparison', 'choose_baselines', 'compare_folders', 'find_group']


@dataclass(frozen=True)
class Comparison:
    """Groups of runs side by side.

    Attributes:
        groups (list[Group]): baselines first, then by label.
        baselines (dict[str, Group]): label to what the group is compared with.
        metric (str): that decides; metrics (list[str]): all that every run has, it first.
        step (int | None): where unfinished runs are compared; None at the end of finished ones.
        claims (list[Claim]): of each group with a baseline.
        data (str): what all were evaluated on.
        left_out (list[str]): a sentence for each folder, or run, that is not compared.
        notes (list[str]): what a reader should know of those that are.
        predictions (Predictions | None): of single images; None where they were not looked for.
    """

    groups: list[Group]
    baselines: dict[str, Group]
    metric: str
    metrics: list[str]
    step: int | None
    claims: list[Claim]
    data: str
    left_out: list[str]
    notes: list[str]
    predictions: Predictions | None = None

    def group(self, label: str) -> Group:
        """The group of that label."""
        return next(group for group in self.groups if group.label == label)

    @property
    def runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def unit(self) -> str:
        """What a step is."""
        units = sorted({'epoch' if run.by_epoch else 'iteration' for run in self.runs})
        return ' or '.join(units)

    def differences(self, group: Group) -> tuple[ConfigDifference, ...]:
        """What sets the configuration of a group apart from that of its baseline."""
        baseline = self.baselines[group.label]
        return differences(baseline.first.effective, group.first.effective)

    @property
    def warnings(self) -> list[str]:
        """Differences beside norm and checkpoint, a sentence for each group that has some."""
        found = {
            group.label: [d.key for d in self.differences(group) if not is_expected(d)]
            for group in self.groups
            if group.label in self.baselines
        }
        return [
            f'{label} and {self.baselines[label].label} differ in more than norm_cfg and '
            f'checkpoint: {", ".join(keys)}.'
            for label, keys in found.items()
            if keys
        ]


def compare_folders(work_dirs, metric=None, baseline=None):
    """Read, group and judge the runs in work folders; their order does not matter.

    Args:
        work_dirs (Sequence[str | Path]): folders of ``tools/train.py``.
        metric (str, optional): see :func:`choose_metric`.
        baseline (str, optional): see :func:`find_group`. Default: see :func:`choose_baselines`.

    Returns:
        Comparison: what is left when folders that cannot be compared are named and left out.

    Raises:
        UserError: fewer than two groups of runs are left, or they have no metric in common.
    """
    runs, left_out = read_runs(work_dirs)
    need_two(runs, _too_few(runs), left_out)
    fixed = find_group(group_runs(runs)[0], baseline).runs if baseline is not None else ()
    runs, others, data = split_by_data(runs, fixed)
    groups, same = group_runs(runs)
    groups, unfinished = finished_groups(groups)
    left_out += others + same + unfinished
    runs = [run for group in groups for run in group.runs]
    need_two(runs, _too_few(runs), left_out)
    need_two(
        groups, 'these runs differ in the seed alone: a comparison needs two settings.', left_out
    )
    chosen = [group for group in groups if set(fixed) & set(group.runs)]
    if fixed and not chosen:
        raise UserError(f'--baseline {baseline} has no finished run.')
    baselines = choose_baselines(groups, chosen[0] if chosen else None)
    step = common_step(groups)
    metric, metrics = choose_metric(groups, metric)
    groups.sort(key=lambda group: (group.label in baselines, group.label))
    comparison = Comparison(
        groups, baselines, metric, metrics, step, [], data, left_out, _notes(groups)
    )
    comparison.claims.extend(
        judge(
            group, baselines[group.label], metric, digits_of(groups, metric), step, comparison.unit
        )
        for group in groups
        if group.label in baselines
    )
    return comparison


def _too_few(runs):
    return f'a comparison needs two runs, and {"one" if runs else "none"} of these can be used.'


def _notes(groups):
    notes = []
    for run in (run for group in groups for run in group.runs):
        if run.diverged:
            notes.append(
                f'{run.work_dir} (seed {run.seed}) died: {run.diverged}. It counts as '
                'NaN and is in no mean.'
            )
        elif not run.finished:
            notes.append(f'{run.work_dir} is not finished: {run.last} of {run.planned}.')
        notes += [
            f'{line} could not be read (cut off) and was left out.' for line in run.log.broken
        ]
    environments = [run.environment for group in groups for run in group.runs]
    for key in ('PyTorch', 'MMEngine', 'GPU 0', 'CUDA available', 'GPU number'):
        values = sorted({environment.get(key, 'not logged') for environment in environments})
        if len(values) > 1:
            notes.append(f'The runs differ in {key}: {", ".join(values)}.')
    return notes


def find_group(groups: list[Group], name: str) -> Group:
    """The group that a user means.

    Args:
        groups (list[Group]): to choose from.
        name (str): a label, a norm ('BN', 'DN-B'), or the work folder of a run in the group.

    Raises:
        UserError: no group, or several, have that name.
    """
    wanted = name.casefold()
    for names in (
        lambda group: [group.label],
        lambda group: [str(group.first.module)],
        lambda group: [group.first.module.name],
        lambda group: [
            text
            for run in group.runs
            for text in (run.work_dir, str(Path(run.work_dir)), Path(run.work_dir).resolve().name)
        ],
    ):
        found = [group for group in groups if wanted in [text.casefold() for text in names(group)]]
        if len(found) == 1:
            return found[0]
        if found:
            break
    labels = ', '.join(repr(group.label) for group in groups)
    raise UserError(
        f'--baseline {name} names {len(found)} of the groups of runs: give one of '
        f'{labels}, or the work folder of a run.'
    )


def choose_baselines(groups: list[Group], fixed: Group | None) -> dict[str, Group]:
    """The baseline of each group that has one.

    Args:
        groups (list[Group]): that are compared.
        fixed (Group, optional): the baseline of all others. Default: of each group the BN group
            that differs in the fewest settings beside norm and checkpoint, so that BN at batch
            2 is what DN-B at batch 2 is compared with.

    Returns:
        dict[str, Group]: label to baseline; a baseline has none itself.

    Raises:
        UserError: nothing is fixed, and there is no group with BN, or none without.
    """
    if fixed is not None:
        return {group.label: fixed for group in groups if group is not fixed}
    candidates = [group for group in groups if group.first.module.name == 'BN']
    others = [group for group in groups if group not in candidates]
    if not candidates or not others:
        labels = ', '.join(repr(group.label) for group in groups)
        raise UserError(
            f'{"none" if not candidates else "each"} of the groups of runs has BN: '
            f'name the baseline with --baseline, one of {labels}.'
        )
    return {
        group.label: min(candidates, key=lambda bn: (_distance(bn, group), -len(bn.runs), bn.label))
        for group in others
    }


def _distance(first, second):
    return sum(
        not is_expected(found)
        for found in differences(first.first.effective, second.first.effective)
    )
