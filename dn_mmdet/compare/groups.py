"""Runs that differ in the seed alone, as one row of a table."""

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

from ..analysis.seed_statistics import Summary
from .differences import differences, same_but_for_the_seed
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
        return Summary({seed: value for seed, value in values.items() if value is not None},
                       self.diverged)


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
            if all(same_but_for_the_seed(other.effective, run.effective, other.seed, run.seed)
                   for other in group):
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
        notes += [f'{run.work_dir}: {same[-1].work_dir} has the same configuration and seed '
                  f'{seed}, so that only the latter is compared.' for run in same[:-1]]
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
        keys = sorted({found.key for other in same[1:] for found in differences(
            same[0].first.effective, other.first.effective)})
        labels = [', '.join([label, *_short(group, keys)]) for group in same]
        count = Counter(labels)
        for group, text in zip(same, labels, strict=True):
            yield replace(group, label=text if count[text] == 1 else
                          f'{text} [{group.first.work_dir}]')


def _short(group, keys):
    """The first settings with a value that can be read at a glance."""
    for key in [key for key in keys if key.split('.')[-1] != 'checkpoint'][:2]:
        value = group.first.effective
        for part in key.split('.'):
            value = (value[int(part)] if isinstance(value, list) else
                     value.get(part) if isinstance(value, dict) else None)
        if isinstance(value, (int, float, str)) and len(str(value)) <= 20:
            yield f'{key.split(".")[-1]}={value}'
