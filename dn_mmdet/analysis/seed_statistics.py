"""Mean and spread over seeds, and what may be said of a difference."""

from dataclasses import dataclass
from math import isnan
from statistics import mean, stdev

__all__ = ['Difference', 'Summary', 'compare', 'summarise']


@dataclass(frozen=True)
class Summary:
    """A figure over the seeds of one setting.

    Attributes:
        values (dict[int, float]): seed to value; diverged runs are not in it.
        diverged (tuple[int, ...]): seeds whose loss ceased to be finite.
    """

    values: dict
    diverged: tuple = ()

    @property
    def mean(self):
        """Mean over the seeds, NaN without any."""
        return mean(self.values.values()) if self.values else float('nan')

    @property
    def spread(self):
        """Sample standard deviation over the seeds; 0 with fewer than two."""
        return stdev(self.values.values()) if len(self.values) > 1 else 0.0

    def __str__(self):
        count = len(self.values) + len(self.diverged)
        lost = f'NaN in {len(self.diverged)} of {count}' if self.diverged else ''
        if not self.values:
            return lost or '-'
        return f'{self.mean:.1f} ± {self.spread:.1f}' + (f' ({lost})' if lost else '')


@dataclass(frozen=True)
class Difference:
    """Second minus first setting, paired by seed.

    Attributes:
        mean (float): of the differences; spread (float): their sample standard deviation.
        verdict (str): 'higher' or 'lower' where the mean is further from zero than the spread,
            else 'within the spread'; 'one seed' and 'NaN' say why there is none.
    """

    mean: float
    spread: float
    verdict: str

    def __str__(self):
        if isnan(self.mean):
            return f'{self.verdict}: the other diverged' if self.verdict != 'NaN' else 'NaN'
        return f'{self.mean:+.1f} ± {self.spread:.1f}, {self.verdict}'


def summarise(rows, key):
    """Summary of ``key`` ('train' or 'val') over rows that differ in the seed alone."""
    return Summary(
        {row['seed']: row[key] for row in rows if row['diverged_at'] is None},
        tuple(row['seed'] for row in rows if row['diverged_at'] is not None),
    )


def compare(first, second):
    """Second minus first :class:`Summary`, over the seeds that both have, as a Difference.

    A run that diverged counts against its side: alone it decides the verdict.
    """
    if bool(first.diverged) != bool(second.diverged):
        return Difference(float('nan'), 0.0, 'higher' if first.diverged else 'lower')
    shared = sorted(first.values.keys() & second.values.keys())
    if not shared:
        return Difference(float('nan'), 0.0, 'NaN')
    summary = Summary({seed: second.values[seed] - first.values[seed] for seed in shared})
    if len(shared) == 1:
        verdict = 'one seed'
    elif abs(summary.mean) <= summary.spread:
        verdict = 'within the spread'
    else:
        verdict = 'higher' if summary.mean > 0 else 'lower'
    return Difference(summary.mean, summary.spread, verdict)
