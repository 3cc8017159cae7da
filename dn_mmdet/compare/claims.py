"""What may be said of a group against its baseline, in a sentence."""

from dataclasses import dataclass, replace

from ..analysis.seed_statistics import Difference, compare
from .bootstrap import LEVEL, Interval, chance_of_one_sign, paired_bootstrap
from .groups import Group
from .metrics import lower_is_better, rounding, short_name

__all__ = ['Claim', 'judge']


@dataclass(frozen=True)
class Claim:
    """A group against its baseline.

    Attributes:
        label (str): of the group; baseline (str): of its baseline.
        verdict (str): 'gain' or 'loss' where the difference exceeds its spread, its interval
            excludes zero and every run is whole; 'not shown' where one of these fails; 'nothing'
            where there are not two seeds to pair.
        sentence (str): with the figures that it rests on.
        difference (Difference | None): over the seeds that both have.
        interval (Interval | None): of its mean, from two seeds on.
    """

    label: str
    baseline: str
    verdict: str
    sentence: str
    difference: Difference | None = None
    interval: Interval | None = None


def judge(group: Group, baseline: Group, metric: str, digits: int,
          step: int | None = None, unit: str = 'epoch') -> Claim:
    """Compare by seed; a difference is a gain only where nothing speaks against it.

    Args:
        group (Group): what is judged; baseline (Group): what it is compared with.
        metric (str): that decides.
        digits (int): decimals to write.
        step (int, optional): where unfinished runs are compared. Default: at their ends.
        unit (str): what a step is. Default: 'epoch'.
    """
    first, second = (side.summary(metric, step) for side in (baseline, group))
    pair = f'{group.label} against {baseline.label}, {short_name(metric)}'
    lost = [f'every run of {side.label}' if not found.values else
            f'{len(found.diverged)} of {len(side.runs)} runs of {side.label} '
            f'({_seeds(found.diverged)})'
            for side, found in ((baseline, first), (group, second)) if found.diverged]
    shared = sorted(first.values.keys() & second.values.keys())
    if not shared:
        why = (f'{" and ".join(lost)} died of a loss that is not finite' if lost else
               f'they have no seed in common ({baseline.label}: {_seeds(first.values)}; '
               f'{group.label}: {_seeds(second.values)}): train both with the same '
               'randomness.seed')
        return Claim(group.label, baseline.label, 'nothing',
                     f'{pair}: there is no difference to give, {why}.')
    difference = compare(replace(first, diverged=()), replace(second, diverged=()))
    if len(shared) == 1:
        return Claim(group.label, baseline.label, 'nothing', (
            f'{pair}: nothing can be said from one seed. The difference is '
            f'{difference.mean:+.{digits}f} ({_seeds(shared)}{_at(step, unit)}), and how much it '
            f'would change with another seed is unknown{_died(lost)}.'), difference)
    interval = paired_bootstrap(
        [second.values[seed] - first.values[seed] for seed in shared])
    figures = (
        f'{difference.mean:+.{digits}f} ± {difference.spread:.{digits}f} (mean ± spread of the '
        f'difference over {len(shared)} paired seeds{_at(step, unit)}; {LEVEL:.0%} bootstrap '
        f'interval over seeds {interval.low:+.{digits}f} to {interval.high:+.{digits}f}, '
        f'{interval.resamples:,} resamples)')
    against = [f'the runs are not finished, this is {unit} {step}'] if step is not None else []
    against += [f'it is without {" and ".join(lost)}, which died of a loss that is not '
                'finite'] if lost else []
    against += ['it lies within the spread'] if abs(
        difference.mean) <= difference.spread else []
    against += ['the interval contains zero'] if interval.contains_zero else []
    against += ['it is no more than what the log rounds off'] if (
        0 < abs(difference.mean) < rounding(metric) + 1e-9) else []
    if against:
        verdict, told = 'not shown', f'no gain or loss may be claimed, {"; ".join(against)}'
    else:
        verdict = 'gain' if (difference.mean < 0) == lower_is_better(metric) else 'loss'
        told = f'a {verdict} that exceeds the spread, with an interval that excludes zero'
        chance = chance_of_one_sign(len(shared))
        if chance > 1 - LEVEL:
            told += (f'; but {len(shared)} seeds are few: equal models give differences of one '
                     f'sign in 1 of {round(1 / chance)} comparisons')
    return Claim(group.label, baseline.label, verdict, f'{pair}: {figures}: {told}.', difference,
                 interval)


def _seeds(seeds):
    seeds = sorted(seeds)
    return f'seed{"" if len(seeds) == 1 else "s"} {", ".join(map(str, seeds)) or "none"}'


def _at(step, unit):
    return '' if step is None else f', {unit} {step}'


def _died(lost):
    return f'; {" and ".join(lost)} died of a loss that is not finite' if lost else ''
