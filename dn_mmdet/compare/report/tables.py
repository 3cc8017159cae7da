"""The tables of a report, as rows of texts with the header first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from statistics import median
from typing import Any

from ...analysis.complexity import Complexity
from ...analysis.config_complexity import config_complexity
from ...utils.errors import UserError
from ..comparison import Comparison
from ..groups import Group
from ..metrics import digits_of, is_class, short_name

__all__ = [
    'Sizes',
    'class_table',
    'count_sizes',
    'difference_table',
    'module_table',
    'seed_table',
    'size_cells',
    'time_table',
    'version_table',
]

# Label of a group to the counts of its model.
Sizes = Mapping[str, Complexity]

# What of a configuration tells the model and the size of its input.
SIZED = (
    'model',
    'default_scope',
    'input_size',
    'val_dataloader',
    'test_dataloader',
    'test_pipeline',
)


def module_table(comparison: Comparison, sizes: Sizes) -> list[list[str]]:
    """The shape of the paper's Table 5: a row for each group, mean and spread of each metric."""
    steps = {group.label: _steps(group) for group in comparison.groups}
    rows = [
        [
            'Module',
            'r',
            'g',
            f'{comparison.unit}s',
            'seeds',
            '#p',
            'Mult-Adds',
            *map(short_name, comparison.metrics),
        ]
    ]
    for group in comparison.groups:
        norm = group.first.norm
        rows.append(
            [
                group.label.replace(norm.arguments, '', 1) if norm.arguments else group.label,
                norm.r,
                norm.g,
                steps[group.label],
                ', '.join(map(str, group.seeds)),
                *size_cells(sizes.get(group.label)),
                *(_cell(comparison, group, metric) for metric in comparison.metrics),
            ]
        )
    return rows


def seed_table(comparison: Comparison) -> list[list[str]]:
    """The deciding metric of every run, and the paired differences."""
    metric, step = comparison.metric, comparison.step
    digits = digits_of(comparison.groups, metric)
    values = {group.label: group.summary(metric, step).values for group in comparison.groups}
    rows = [['seed', *values, *_pair_titles(comparison)]]
    for seed in sorted({seed for group in comparison.groups for seed in group.seeds}):
        row = [str(seed)]
        for group in comparison.groups:
            row.append(
                'NaN' if seed in group.diverged else _number(values[group.label].get(seed), digits)
            )
        for group, baseline in comparison.compared:
            pair = values[group.label].get(seed), values[baseline.label].get(seed)
            row.append('-' if None in pair else f'{pair[0] - pair[1]:+.{digits}f}')
        rows.append(row)
    return rows


def class_table(comparison: Comparison) -> list[list[str]]:
    """Average precision of each class that all groups have; empty where the logs have none."""
    runs = [run for group in comparison.groups for run in group.usable]
    names = [
        name
        for name in runs[0].log.val.get(runs[0].last, {})
        if is_class(name) and all(run.value(name, comparison.step) is not None for run in runs)
    ]
    header = ['class', *(group.label for group in comparison.groups), *_pair_titles(comparison)]
    rows = [
        [
            short_name(name),
            *(_cell(comparison, group, name) for group in comparison.groups),
            *(
                _number(
                    group.summary(name, comparison.step).mean
                    - baseline.summary(name, comparison.step).mean,
                    3,
                    '+',
                )
                for group, baseline in comparison.compared
            ),
        ]
        for name in names
    ]
    return [header, *rows] if rows else []


def time_table(comparison: Comparison) -> list[list[str]]:
    """Seconds and memory of a training iteration, medians of the logged ones and of the runs."""
    typical = {
        group.label: {
            key: _median(run.typical(key) for run in group.runs)
            for key in ('time', 'data_time', 'memory')
        }
        for group in comparison.groups
    }
    rows = [['', 's/iter', 'relative', 'of which loading data, s', 'memory, MB']]
    for label, own in typical.items():
        base = typical[
            comparison.baselines[label].label if label in comparison.baselines else label
        ]
        ratio = own['time'] / base['time'] if own['time'] and base['time'] else None
        rows.append(
            [
                label,
                _number(own['time'], 3),
                '-' if ratio is None else f'{ratio:.2f} x',
                _number(own['data_time'], 3),
                'not logged' if own['memory'] is None else f'{own["memory"]:.0f}',
            ]
        )
    return rows


def version_table(comparison: Comparison) -> list[list[str]]:
    """The environment that the logs tell of; what differs between runs is told by run."""
    environments = {run.work_dir: run.environment for run in comparison.runs}
    rows = [['', 'of every run']]
    for key in dict.fromkeys(key for found in environments.values() for key in found):
        if key in ('seed', 'numpy_random_seed'):
            continue
        values = {
            work_dir: found.get(key, 'not logged') for work_dir, found in environments.items()
        }
        same = len(set(values.values())) == 1
        rows.append(
            [
                key,
                next(iter(values.values()))
                if same
                else '; '.join(f'{work_dir}: {value}' for work_dir, value in values.items()),
            ]
        )
    if not any('revision' in row[0].lower() for row in rows):
        rows.append(['git revision', 'not logged'])
    return rows


def difference_table(comparison: Comparison, group: Group) -> list[list[str]]:
    """Where the configuration of a group differs from its baseline's."""
    return [
        ['setting', comparison.baselines[group.label].label, group.label],
        *(
            [found.key, _short(found.first), _short(found.second)]
            for found in comparison.differences(group)
        ),
    ]


def _pair_titles(comparison: Comparison) -> list[str]:
    return [f'{group.label} - {baseline.label}' for group, baseline in comparison.compared]


def _cell(comparison: Comparison, group: Group, metric: str) -> str:
    """Mean and spread, and how many runs have none."""
    found = group.summary(metric, comparison.step)
    lost = f'NaN in {len(found.diverged)} of {len(group.runs)}' if found.diverged else ''
    if not found.values:
        return lost or '-'
    digits = digits_of(comparison.groups, metric)
    spread = f' ± {found.spread:.{digits}f}' if len(found.values) > 1 else ''
    return f'{found.mean:.{digits}f}{spread}' + (f' ({lost})' if lost else '')


def _steps(group: Group) -> str:
    steps = sorted({run.last for run in group.usable}) or [group.first.last]
    planned = group.first.planned
    told = ' to '.join(map(str, dict.fromkeys([steps[0], steps[-1]])))
    return told if planned in (None, *steps) and len(steps) == 1 else f'{told} of {planned}'


def _median(values: Iterable[float | None]) -> float | None:
    values = [value for value in values if value is not None]
    return median(values) if values else None


def _number(value: float | None, digits: int, sign: str = '') -> str:
    return '-' if value is None or isnan(value) else f'{value:{sign}.{digits}f}'


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) and not value.startswith('(') else str(value)
    return text if len(text) <= 200 else f'{text[:200]} ...'


def count_sizes(groups: Sequence[Group]) -> tuple[dict[str, Complexity], list[str]]:
    """Build each group's model from its configuration, without weights or data, and count.

    Args:
        groups (Sequence[Group]): One or two seconds each.

    Returns:
        tuple[dict[str, Complexity], list[str]]: Label to counts, and a sentence for each model
        that cannot be built here, as one of another package.
    """
    sizes, notes = {}, []
    for group in groups:
        try:
            sizes[group.label] = config_complexity(group.first.buildable(*SIZED)).complexity
        except UserError as error:
            notes.append(f'#p and Mult-Adds of {group.label} could not be counted: {error}')
    return sizes, notes


def size_cells(size: Complexity | None) -> tuple[str, str]:
    """Both counts as the paper prints them, '2.36M' and '66.3M' or '0.81G'."""
    if size is None:
        return '-', '-'
    cost = (
        f'{size.mult_adds / 1e9:.2f}G' if size.mult_adds >= 5e8 else f'{size.mult_adds / 1e6:.1f}M'
    )
    return f'{size.params / 1e6:.2f}M', cost
