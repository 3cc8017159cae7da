"""Interval of a paired difference, by resampling the pairs."""

from dataclasses import dataclass

import numpy as np

__all__ = ['LEVEL', 'RESAMPLES', 'Interval', 'chance_of_one_sign', 'paired_bootstrap']

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A percentile interval.

    Attributes:
        low (float): lower end; high (float): upper end.
        resamples (int): that it was taken from.
    """

    low: float
    high: float
    resamples: int

    @property
    def contains_zero(self) -> bool:
        """Whether no difference at all lies in it, its ends included."""
        return self.low <= 0 <= self.high


def paired_bootstrap(differences, resamples=RESAMPLES, level=LEVEL, seed=0):
    """Percentile bootstrap of the mean difference (Efron and Tibshirani 1993, Sec. 13.3).

    Args:
        differences (Sequence[float]): one for each pair; the order does not matter.
        resamples (int): Default: 10,000.
        level (float): share of the resampled means inside. Default: 0.95.
        seed (int): of the resampling. Default: 0.

    Returns:
        Interval: of the mean.
    """
    values = np.sort(np.asarray(differences, dtype=float))
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(values[picks].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), resamples)


def chance_of_one_sign(pairs):
    """How likely all differences have one sign where there is none: 2 / 2^pairs.

    With few seeds an interval excludes zero as soon as they have, so that this is what such an
    interval is worth.
    """
    return 2 / 2**pairs
