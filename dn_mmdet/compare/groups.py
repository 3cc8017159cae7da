"""Runs that differ in the seed alone, as one row of a table."""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import PurePath

from ..analysis.seed_statistics import Summary
from .differences import ABSENT, differences, same_but_for_the_seed
from .runs import Run

__all__ = ['Group', 'group_runs']


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one experiment.

    Attributes:
        label (str): the norm, with what else sets the group apart from another of that norm.
        runs (tuple[Run, ...]): by seed, each seed once.
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


def group_runs(runs):
    """Put runs that differ in the seed alone together.

    Args:
        runs (Sequence[Run]): in any order.

    Returns:
        tuple[list[Group], list[str]]: the groups, by label, and a sentence for each run that is
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
    groups = [Group(str(group[0].module), _one_a_seed(group, notes)) for group in members]
    return sorted(_distinct(groups), key=lambda group: group.label), notes


def _one_a_seed(runs, notes):
    by_seed = defaultdict(list)
    for run in runs:
        by_seed[run.seed].append(run)
    for seed, same in by_seed.items():
        # A finished run before one that is not, then the latest.
        same.sort(key=lambda run: (run.finished, run.log.starts[-1].name, run.work_dir))
        notes += [
            f'{run.work_dir}: {same[-1].work_dir} has the same configuration and seed '
            f'{seed}, so that only the latter is compared.'
            for run in same[:-1]
        ]
    return tuple(same[-1] for _, same in sorted(by_seed.items()))


def _distinct(groups):
    """Groups of one norm get what they differ in into their labels."""
    by_label = defaultdict(list)
    for group in groups:
        by_label[group.label].append(group)
    for label, same in by_label.items():
        if len(same) == 1:
            yield same[0]
            continue
        plain, origins = _told_apart(same)
        plain = [', '.join([label, *settings[:2]]) for settings in plain]
        # Where they start from only where nothing shorter tells them apart.
        labels = [
            ', '.join([text, *origin[:1]]) if plain.count(text) > 1 else text
            for text, origin in zip(plain, origins, strict=True)
        ]
        for group, text in zip(same, labels, strict=True):
            yield replace(
                group, label=text if labels.count(text) == 1 else f'{text} [{group.first.work_dir}]'
            )


def _told_apart(groups):
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


def _settings(name, value):
    """A value, or what is in it, as far as it can be read at a glance."""
    if isinstance(value, dict):
        return [text for inner, held in value.items() for text in _settings(str(inner), held)]
    readable = isinstance(value, (int, float, str)) and len(str(value)) <= 20 and value != ABSENT
    return [f'{name}={value}'] if readable else []


def _origin(checkpoint, other):
    """The first part of a path that another has not."""
    parts = zip_longest(PurePath(str(checkpoint)).parts, PurePath(str(other)).parts)
    return [f'from {mine}' for mine, its in parts if mine and mine != its][:1]
