"""Runs that differ in the seed alone, as one row of a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, NamedTuple

from tqdm import tqdm

from ..engine.config_text import loader_data
from ..runs.config import ABSENT, differences, same_but_for_the_seed
from ..runs.run import LeftOut, Run, read_run
from ..utils.errors import UserError
from ..utils.python39 import zip_strict
from .statistics import Summary

__all__ = [
    'Group',
    'common_step',
    'finished_groups',
    'group_runs',
    'label_apart',
    'need_two',
    'read_runs',
    'split_by_data',
]


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one experiment.

    Attributes:
        label (str): The norm, with what else sets the group apart from another of that norm.
        runs (tuple[Run, ...]): By seed, each seed once.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """The run of the lowest seed, whose configuration stands for all."""
        return self.runs[0]

    @property
    def seeds(self) -> list[int]:
        """Seeds of its runs."""
        return [run.seed for run in self.runs]

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds whose loss ceased to be finite."""
        return tuple(run.seed for run in self.runs if run.diverged)

    @cached_property
    def usable(self) -> tuple[Run, ...]:
        """Runs with figures: those that did not diverge."""
        return tuple(run for run in self.runs if not run.diverged)

    def summary(self, metric: str, step: int | None = None) -> Summary:
        """A metric over the seeds, at a step or at the last."""
        values = {run.seed: run.value(metric, step) for run in self.usable}
        return Summary(
            {seed: value for seed, value in values.items() if value is not None}, self.diverged
        )


def read_runs(work_dirs: Sequence[str | Path]) -> tuple[list[Run], list[str]]:
    """Read each folder once; the second result says why some are left out."""
    folders: dict[Path, str] = {}
    for work_dir in sorted(map(str, work_dirs)):
        folders.setdefault(Path(work_dir).resolve(), work_dir)
    runs, left_out = [], []
    for work_dir in tqdm(folders.values(), 'reading logs', unit='run', disable=None, delay=2):
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


def group_runs(runs: Sequence[Run]) -> tuple[list[Group], list[str]]:
    """Put runs that differ in the seed alone together.

    Args:
        runs (Sequence[Run]): In any order.

    Returns:
        tuple[list[Group], list[str]]: The groups, by label, and a sentence for each run that is
        left out because another has its configuration and seed.
    """
    members, notes = [], []
    for run in sorted(runs, key=lambda run: (run.seed, run.work_dir)):
        for group in members:
            if all(
                same_but_for_the_seed(other.effective, run.effective, other.seed, run.seed)
                for other in group
            ):
                group.append(run)
                break
        else:
            members.append([run])
    return label_apart([Group('', _one_a_seed(group, notes)) for group in members]), notes


def _one_a_seed(runs: Sequence[Run], notes: list[str]) -> tuple[Run, ...]:
    """One run of each seed; a sentence for each other is added to ``notes``."""
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run.seed].append(run)
    for seed, same in by_seed.items():
        # A finished run before one that is not, then the latest.
        same.sort(key=lambda run: (run.finished, run.log.starts[-1].name, run.work_dir))
        notes += [
            f'{run.work_dir}: {same[-1].work_dir} has the same configuration and seed '
            f'{seed}, so only the latter is compared.'
            for run in same[:-1]
        ]
    return tuple(same[-1] for _, same in sorted(by_seed.items()))


def label_apart(groups: Sequence[Group]) -> list[Group]:
    """Label groups by their norms, and those of one norm by what else they differ in.

    Args:
        groups (Sequence[Group]): All that stand side by side; the labels they have are ignored.

    Returns:
        list[Group]: By label.
    """
    by_norm = defaultdict(list)
    for group in groups:
        by_norm[str(group.first.norm)].append(group)
    labeled = [
        replace(group, label=label)
        for norm, same in by_norm.items()
        for group, label in zip_strict(same, _labels(norm, same))
    ]
    return sorted(labeled, key=lambda group: group.label)


def _labels(norm: str, groups: Sequence[Group]) -> list[str]:
    if len(groups) == 1:
        return [norm]
    settings, origins = _told_apart(groups)
    plain = [', '.join([norm, *found[:2]]) for found in settings]
    # Where they start from only where nothing shorter tells them apart.
    labels = [
        ', '.join([text, *origin[:1]]) if plain.count(text) > 1 else text
        for text, origin in zip_strict(plain, origins)
    ]
    return [
        text if labels.count(text) == 1 else f'{text} [{group.first.work_dir}]'
        for group, text in zip_strict(groups, labels)
    ]


def _told_apart(groups: Sequence[Group]) -> tuple[list[list[str]], list[list[str]]]:
    """The settings that set each group apart, as 'lr=0.2', and its checkpoints, 'from mbv2_bn'."""
    found = [
        {one.key: one for one in differences(groups[0].first.effective, group.first.effective)}
        for group in groups
    ]
    first = {key: one.first for each in found for key, one in each.items()}
    settings, origins = [[] for _ in groups], [[] for _ in groups]
    for key in sorted(first):
        other = next(each[key].second for each in found if key in each)
        for i, each in enumerate(found):
            if any(inner.startswith(f'{key}.') for inner in each):
                continue  # told by the keys below
            value = each[key].second if key in each else first[key]
            if key.split('.')[-1] in ('checkpoint', 'load_from'):
                origins[i] += _origin(value, other if value == first[key] else first[key])
            else:
                settings[i] += _settings(key.split('.')[-1], value)
    return settings, origins


def _settings(name: str, value: Any) -> list[str]:
    """A value, or what is in it, as far as it can be read at a glance."""
    if isinstance(value, dict):
        return [text for inner, held in value.items() for text in _settings(str(inner), held)]
    readable = isinstance(value, (int, float, str)) and len(str(value)) <= 20 and value != ABSENT
    return [f'{name}={value}'] if readable else []


def _origin(checkpoint: Any, other: Any) -> list[str]:
    """The first part of a path that another has not."""
    parts = zip_longest(PurePath(str(checkpoint)).parts, PurePath(str(other)).parts)
    return [f'from {mine}' for mine, its in parts if mine and mine != its][:1]


class Data(NamedTuple):
    """What a run is evaluated on.

    Attributes:
        path (str): Annotation file or folder; '' where the configuration does not say it.
        classes (int | None): How many the model tells apart.
    """

    path: str
    classes: int | None

    def __str__(self) -> str:
        classes = '' if self.classes is None else f', {self.classes} classes'
        return f'{self.path or "unknown data"}{classes}'

    @classmethod
    def of(cls, run: Run) -> Data:
        """Read it from the configuration of a run."""
        counts = set(_numbers_of_classes(run.config.get('model')))
        return cls(loader_data(run.config.get('val_dataloader')) or '', max(counts, default=None))

    def agrees(self, other: Data) -> bool:
        """Whether both may be the same: a path may begin further up on another machine."""
        parts = [PurePosixPath(data.path).parts[::-1] for data in (self, other)]
        return self.classes == other.classes and all(a == b for a, b in zip(*parts))


def split_by_data(
    groups: Sequence[Group], baseline: Group | None = None
) -> tuple[list[Group], list[str], str]:
    """Keep the groups on one data set: that of the baseline, else that of the most runs.

    Args:
        groups (Sequence[Group]): In any order. The runs of each are on one data set.
        baseline (Group, optional): One of them. Defaults to none.

    Returns:
        tuple[list[Group], list[str], str]: The groups that are kept, labeled again; a sentence for
        each run that is not; and the data in words.

    Raises:
        UserError: Two data sets have as many runs.
    """
    found = defaultdict(list)
    for group in sorted(groups, key=lambda group: min(run.work_dir for run in group.runs)):
        data = Data.of(group.first)
        found[next((known for known in found if known.agrees(data)), data)].append(group)
    runs = {
        data: sorted((run for group in same for run in group.runs), key=lambda run: run.work_dir)
        for data, same in found.items()
    }
    most = max(map(len, runs.values()))
    chosen = [
        data
        for data, same in found.items()
        if (baseline in same if baseline else len(runs[data]) == most)
    ]
    if len(chosen) > 1:
        raise UserError(
            'the runs were evaluated on different data: '
            + '; '.join(
                f'{data} ({", ".join(run.work_dir for run in runs[data])})' for data in chosen
            )
            + '. Compare those of one data set at a time.'
        )
    kept = chosen[0]
    notes = [
        f'{run.work_dir}: it was evaluated on {data}, the others on {kept}.'
        for data, others in runs.items()
        if data != kept
        for run in others
    ]
    return label_apart(found[kept]), notes, str(kept)


def _numbers_of_classes(node: Any) -> Iterator[int]:
    if isinstance(node, dict):
        if isinstance(node.get('num_classes'), int):
            yield node['num_classes']
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _numbers_of_classes(item)


def finished_groups(groups: Sequence[Group]) -> tuple[list[Group], list[str]]:
    """Leave unfinished runs out, unless fewer than two groups can do without them."""
    whole = [
        (group, tuple(run for run in group.runs if run.finished or run.diverged))
        for group in groups
    ]
    if sum(bool(runs) for _, runs in whole) < 2:
        return list(groups), []
    sentences = [
        f'{run.work_dir}: it is not finished ({run.last} of {run.planned} '
        f'{"epochs" if run.by_epoch else "iterations"}); --resume continues it.'
        for group, runs in whole
        for run in group.runs
        if run not in runs
    ]
    return [replace(group, runs=runs) for group, runs in whole if runs], sentences


def common_step(groups: Sequence[Group]) -> int | None:
    """The last step that all runs were evaluated at; None where all are finished.

    Raises:
        UserError: There is none.
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
