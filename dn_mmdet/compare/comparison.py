"""From work folders to what a report says, before it is written in any form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

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
from .images.intervals import IMAGE_RESAMPLES
from .images.predictions import Predictions, collect_predictions
from .images.results import ImageResults
from .metrics import choose_metric, digits_of

__all__ = ['Comparison', 'choose_baselines', 'compare_folders', 'find_group']


@dataclass(frozen=True)
class Comparison:
    """Groups of runs side by side.

    Attributes:
        groups (tuple[Group, ...]): Baselines first, then by label.
        baselines (Mapping[str, Group]): Label to what the group is compared with.
        metric (str): The metric that decides.
        metrics (tuple[str, ...]): All metrics that every run has, that one first.
        step (int | None): Where unfinished runs are compared; None at the end of finished ones.
        data (str): What all were evaluated on.
        claims (tuple[Claim, ...]): Of each group with a baseline.
        left_out (tuple[str, ...]): A sentence for each folder, or run, that is not compared.
        notes (tuple[str, ...]): What a reader should know of those that are.
        predictions (Predictions | None): Of single images; None where they were not looked for.
    """

    groups: tuple[Group, ...]
    baselines: Mapping[str, Group]
    metric: str
    metrics: tuple[str, ...]
    step: int | None
    data: str
    claims: tuple[Claim, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    predictions: Predictions | None

    def group(self, label: str) -> Group:
        """The group of that label."""
        return next(group for group in self.groups if group.label == label)

    @property
    def compared(self) -> tuple[tuple[Group, Group], ...]:
        """Each group that has a baseline, and that."""
        return _compared(self.groups, self.baselines)

    @property
    def runs(self) -> list[Run]:
        """All runs, group by group."""
        return [run for group in self.groups for run in group.runs]

    @property
    def unit(self) -> str:
        """What a step is."""
        return _unit(self.groups)

    def pairs(self, label: str) -> dict[int, tuple[ImageResults, ImageResults]]:
        """Seed to predictions of a group's baseline and of the group, where both have them."""
        if self.predictions is None:
            return {}
        return self.predictions.pairs(self.group(label), self.baselines[label])

    def differences(self, group: Group) -> tuple[ConfigDifference, ...]:
        """What sets the configuration of a group apart from that of its baseline."""
        return differences(self.baselines[group.label].first.effective, group.first.effective)

    @property
    def warnings(self) -> list[str]:
        """Differences besides norm and checkpoint, a sentence for each group that has some."""
        found = [
            (group.label, [d.key for d in self.differences(group) if not is_expected(d)])
            for group, _ in self.compared
        ]
        return [
            f'{label} and {self.baselines[label].label} differ in more than norm_cfg and '
            f'checkpoint: {", ".join(keys)}.'
            for label, keys in found
            if keys
        ]


def compare_folders(
    work_dirs: Sequence[str | Path],
    metric: str | None = None,
    baseline: str | None = None,
    failed: Mapping[str, str] = MappingProxyType({}),
    predictions: bool = False,
    resamples: int = IMAGE_RESAMPLES,
    test: bool = False,
) -> Comparison:
    """Read, group and judge the runs in work folders; their order does not matter.

    Args:
        work_dirs (Sequence[str | Path]): Folders of ``tools/train.py``.
        metric (str, optional): See :func:`choose_metric`.
        baseline (str, optional): See :func:`find_group`. Defaults to what
            :func:`choose_baselines` chooses for each group.
        failed (Mapping[str, str]): Work folder of each run that could not be trained to its end
            to the reason, for the notes. Defaults to none.
        predictions (bool): Whether prediction files are read too. Defaults to False.
        resamples (int): Draws of images, see :func:`collect_predictions`. Defaults to 1,000.
        test (bool): Whether missing prediction files are made first. Defaults to False.

    Returns:
        Comparison: What is left when folders that cannot be compared are named and left out.

    Raises:
        UserError: Fewer than two groups of runs are left, or they have no metric in common.
    """
    runs, left_out = read_runs(work_dirs)
    need_two(runs, _too_few(runs), left_out)
    groups, same = group_runs(runs)
    fixed = find_group(groups, baseline) if baseline is not None else None
    groups, others, data = split_by_data(groups, fixed)
    groups, unfinished = finished_groups(groups)
    left_out += others + same + unfinished
    runs = [run for group in groups for run in group.runs]
    need_two(runs, _too_few(runs), left_out)
    need_two(
        groups, 'these runs differ in the seed alone: a comparison needs two settings.', left_out
    )
    if fixed is not None:
        fixed = next((group for group in groups if set(fixed.runs) & set(group.runs)), None)
        if fixed is None:
            raise UserError(f'--baseline {baseline} has no finished run.')
    baselines = choose_baselines(groups, fixed)
    groups.sort(key=lambda group: (group.label in baselines, group.label))
    step = common_step(groups)
    metric, metrics = choose_metric(groups, metric)
    compared = _compared(groups, baselines)
    found = (
        collect_predictions(groups, compared, metric, step, resamples, test)
        if predictions
        else None
    )
    digits, unit = digits_of(groups, metric), _unit(groups)
    notes = _notes(groups)
    told = (*left_out, *notes)
    notes += [
        f'{folder}: {reason}'
        for folder, reason in failed.items()
        if not any(text.startswith(folder) for text in told)
    ]
    return Comparison(
        tuple(groups),
        MappingProxyType(baselines),
        metric,
        tuple(metrics),
        step,
        data,
        tuple(
            judge(
                group, other, metric, digits, step, unit, found and found.intervals.get(group.label)
            )
            for group, other in compared
        ),
        tuple(left_out),
        tuple(notes),
        found,
    )


def _compared(
    groups: Sequence[Group], baselines: Mapping[str, Group]
) -> tuple[tuple[Group, Group], ...]:
    return tuple((group, baselines[group.label]) for group in groups if group.label in baselines)


def _unit(groups: Sequence[Group]) -> str:
    by_epoch = {run.by_epoch for group in groups for run in group.runs}
    return ' or '.join(sorted('epoch' if found else 'iteration' for found in by_epoch))


def _too_few(runs: Sequence[Run]) -> str:
    return f'a comparison needs two runs, and {"one" if runs else "none"} of these can be used.'


def _notes(groups: Sequence[Group]) -> list[str]:
    notes = []
    for run in (run for group in groups for run in group.runs):
        if run.diverged:
            notes.append(
                f'{run.work_dir} (seed {run.seed}) diverged: {run.diverged}. It counts as '
                'NaN and is left out of all means.'
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


def find_group(groups: Sequence[Group], name: str) -> Group:
    """The group that a user means.

    Args:
        groups (Sequence[Group]): To choose from.
        name (str): A label, a norm ('BN', 'DN-B'), or the work folder of a run in the group.

    Raises:
        UserError: No group, or several, have that name.
    """
    wanted = name.casefold()
    for names in (
        lambda group: [group.label],
        lambda group: [str(group.first.norm)],
        lambda group: [group.first.norm.name],
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
        f'--baseline {name} matches {len(found)} groups of runs: choose one of {labels}, '
        'or the work folder of a run.'
    )


def choose_baselines(groups: Sequence[Group], fixed: Group | None) -> dict[str, Group]:
    """The baseline of each group that has one.

    Args:
        groups (Sequence[Group]): The groups that are compared.
        fixed (Group, optional): The baseline of all others. Defaults to a baseline for each
            group, the BN group that differs in the fewest settings besides norm and
            checkpoint, so BN at batch 2 is what DN-B at batch 2 is compared with.

    Returns:
        dict[str, Group]: Label to baseline; a baseline has none itself.

    Raises:
        UserError: Nothing is fixed, and there is no group with BN, or none without.
    """
    if fixed is not None:
        return {group.label: fixed for group in groups if group is not fixed}
    candidates = [group for group in groups if group.first.norm.name == 'BN']
    others = [group for group in groups if group not in candidates]
    if not candidates or not others:
        labels = ', '.join(repr(group.label) for group in groups)
        raise UserError(
            f'{"no group" if not candidates else "every group"} of runs has BN: '
            f'choose the baseline with --baseline, one of {labels}.'
        )
    return {
        group.label: min(candidates, key=lambda bn: (_distance(bn, group), -len(bn.runs), bn.label))
        for group in others
    }


def _distance(first: Group, second: Group) -> int:
    return sum(
        not is_expected(found)
        for found in differences(first.first.effective, second.first.effective)
    )
