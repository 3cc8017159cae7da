"""Interval of a paired difference, by resampling the pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import mean, stdev
from typing import Any

import numpy as np

__all__ = [
    'Difference',
    'Interval',
    'LEVEL',
    'RESAMPLES',
    'Summary',
    'chance_of_one_sign',
    'compare',
    'paired_bootstrap',
    'summarize',
]

RESAMPLES = 10_000

LEVEL = 0.95

# With fewer pairs an interval excludes zero by chance as soon as they have one sign, see below.
ENOUGH = 5


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low (float): Lower end.
        high (float): Upper end.
        resamples (int): Number of resamples that it was taken from.
    """

    low: float
    high: float
    resamples: int

    @property
    def contains_zero(self) -> bool:
        """Whether no difference at all lies in it, its ends included."""
        return self.low <= 0 <= self.high


def paired_bootstrap(
    differences: Sequence[float],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean difference (Efron and Tibshirani 1993, Sec. 13.3).

    Args:
        differences (Sequence[float]): One for each pair; the order does not matter.
        resamples (int): How often the pairs are drawn. Defaults to 10,000.
        level (float): Share of the resampled means inside. Defaults to 0.95.
        seed (int): Of the resampling. Defaults to 0.

    Returns:
        Interval: Of the mean.
    """
    values = np.sort(np.asarray(differences, dtype=float))
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), resamples)


def chance_of_one_sign(pairs: int) -> float:
    """How likely all differences have one sign where there is none: 2 / 2^pairs.

    With few seeds an interval excludes zero as soon as they do, so this is what such an interval
    is worth.
    """
    return 2 / 2**pairs


@dataclass(frozen=True)
class Summary:
    """A figure over the seeds of one setting.

    Attributes:
        values (Mapping[int, float]): Seed to value; diverged runs are not in it.
        diverged (tuple[int, ...]): Seeds whose loss ceased to be finite.
    """

    values: Mapping[int, float]
    diverged: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        """Mean over the seeds, NaN without any."""
        return mean(self.values.values()) if self.values else float('nan')

    @property
    def spread(self) -> float:
        """Sample standard deviation over the seeds; 0 with fewer than two."""
        return stdev(self.values.values()) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        count = len(self.values) + len(self.diverged)
        lost = f'NaN in {len(self.diverged)} of {count}' if self.diverged else ''
        if not self.values:
            return lost or '-'
        return f'{self.mean:.1f} ± {self.spread:.1f}' + (f' ({lost})' if lost else '')


@dataclass(frozen=True)
class Difference:
    """Second minus first setting, paired by seed.

    Attributes:
        mean (float): Mean of the differences.
        spread (float): Their sample standard deviation.
        verdict (str): 'higher' or 'lower' where the mean is further from zero than the spread,
            else 'within the spread'; 'one seed', 'two seeds' and 'NaN' say why there is none.
        seeds (int): How many seeds both have. Defaults to 0.
        interval (Interval, optional): Of the mean over the seeds, from two on; in the text from
            five on.
    """

    mean: float
    spread: float
    verdict: str
    seeds: int = 0
    interval: Interval | None = None

    def __str__(self) -> str:
        if isnan(self.mean):
            return f'{self.verdict}: the other diverged' if self.verdict != 'NaN' else 'NaN'
        text = f'{self.mean:+.1f} ± {self.spread:.1f}, {self.verdict}'
        if self.interval is None or self.seeds < ENOUGH:
            return text
        return f'{text}; 95% {self.interval.low:+.1f} to {self.interval.high:+.1f}'


def summarize(rows: Sequence[Mapping[str, Any]], key: str) -> Summary:
    """Summary of ``key`` ('train' or 'val') over rows that differ in the seed alone."""
    return Summary(
        {row['seed']: row[key] for row in rows if row[key] is not None},
        tuple(row['seed'] for row in rows if row['diverged_at'] is not None),
    )


def compare(first: Summary, second: Summary) -> Difference:
    """Second minus first, over the seeds that both have.

    A run that diverged counts against its side: alone it decides the verdict.
    """
    shared = sorted(first.values.keys() & second.values.keys())
    summary = Summary({seed: second.values[seed] - first.values[seed] for seed in shared})
    interval = paired_bootstrap([*summary.values.values()]) if len(shared) > 1 else None
    if bool(first.diverged) != bool(second.diverged):
        verdict = 'higher' if first.diverged else 'lower'
        return Difference(float('nan'), 0.0, verdict, len(shared), interval)
    if not shared:
        return Difference(float('nan'), 0.0, 'NaN')
    if len(shared) < 3:
        verdict = ('one seed', 'two seeds')[len(shared) - 1]
    elif abs(summary.mean) <= summary.spread:
        verdict = 'within the spread'
    else:
        verdict = 'higher' if summary.mean > 0 else 'lower'
    return Difference(summary.mean, summary.spread, verdict, len(shared), interval)
