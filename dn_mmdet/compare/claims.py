"""What can be claimed of a group against its baseline, in a sentence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from .groups import Group
from .images.intervals import ImageIntervals
from .metrics import lower_is_better, rounding, short_name
from .statistics import LEVEL, Difference, Interval, chance_of_one_sign, compare

__all__ = ['Claim', 'judge']

DIVERGED = 'diverged to a loss that is not finite'


@dataclass(frozen=True)
class Claim:
    """A group against its baseline.

    Attributes:
        label (str): Label of the group.
        baseline (str): Label of its baseline.
        verdict (str): 'gain' or 'loss' where the difference exceeds its spread, its intervals
            exclude zero and every run is whole; 'not shown' where one of these fails; 'nothing'
            where there are not two seeds to pair.
        sentence (str): The claim, with the figures that it rests on.
        difference (Difference | None): Over the seeds that both have.
        interval (Interval | None): Of its mean over seeds, from two seeds on.
        images (ImageIntervals | None): Over images, and over both, where predictions are there.
    """

    label: str
    baseline: str
    verdict: str
    sentence: str
    difference: Difference | None = None
    interval: Interval | None = None
    images: ImageIntervals | None = None


def judge(
    group: Group,
    baseline: Group,
    metric: str,
    digits: int,
    step: int | None = None,
    unit: str = 'epoch',
    images: ImageIntervals | None = None,
) -> Claim:
    """Compare by seed; a difference is a gain only where nothing speaks against it.

    Args:
        group (Group): What is judged.
        baseline (Group): What it is compared with.
        metric (str): The metric that decides.
        digits (int): Decimals to write.
        step (int, optional): Where unfinished runs are compared. Defaults to their ends.
        unit (str): What a step is. Defaults to 'epoch'.
        images (ImageIntervals, optional): What the choice of images makes of the difference.
            Defaults to None, which is unknown.
    """
    first, second = (side.summary(metric, step) for side in (baseline, group))
    pair = f'{group.label} against {baseline.label}, {short_name(metric)}'
    lost = [
        f'every run of {side.label}'
        if not found.values
        else f'{len(found.diverged)} of {len(side.runs)} runs of {side.label} '
        f'({_seeds(found.diverged)})'
        for side, found in ((baseline, first), (group, second))
        if found.diverged
    ]
    shared = sorted(first.values.keys() & second.values.keys())
    if not shared:
        why = (
            f'{" and ".join(lost)} {DIVERGED}'
            if lost
            else f'they have no seed in common ({baseline.label}: {_seeds(first.values)}; '
            f'{group.label}: {_seeds(second.values)}): train both with the same '
            'randomness.seed'
        )
        return Claim(
            group.label,
            baseline.label,
            'nothing',
            f'{pair}: no difference can be given: {why}.',
        )
    difference = compare(replace(first, diverged=()), replace(second, diverged=()))
    if len(shared) == 1:
        return Claim(
            group.label,
            baseline.label,
            'nothing',
            (
                f'{pair}: nothing can be said from one seed. The difference is '
                f'{difference.mean:+.{digits}f} ({_seeds(shared)}{_at(step, unit)}'
                f'{_over_images(images, digits)}), and how much it would change with another '
                f'seed is unknown{_diverged(lost)}.'
            ),
            difference,
            images=images,
        )
    interval = difference.interval
    figures = (
        f'{difference.mean:+.{digits}f} ± {difference.spread:.{digits}f} (mean ± spread of the '
        f'difference over {len(shared)} paired seeds{_at(step, unit)}; {LEVEL:.0%} bootstrap '
        f'interval over seeds {interval.low:+.{digits}f} to {interval.high:+.{digits}f}, '
        f'{interval.resamples:,} resamples{_over_images(images, digits)})'
    )
    against = [f'the runs are not finished, this is {unit} {step}'] if step is not None else []
    against += [f'it leaves out {" and ".join(lost)}, which {DIVERGED}'] if lost else []
    against += ['it lies within the spread'] if abs(difference.mean) <= difference.spread else []
    joint = images and images.widest
    names = {
        'over seeds': interval,
        'over images and seeds' if images and images.both else 'over images': joint,
    }
    zero = [name for name, found in names.items() if found and found.contains_zero]
    against += [f'the interval {name} contains zero' for name in zero]
    against += (
        ['it is not larger than the rounding of the logged values']
        if (0 < abs(difference.mean) < rounding(metric) + 1e-9)
        else []
    )
    if against:
        verdict, told = 'not shown', f'no gain or loss can be claimed because {"; ".join(against)}'
    else:
        verdict = 'gain' if (difference.mean < 0) == lower_is_better(metric) else 'loss'
        told = f'a {verdict} that exceeds the spread, with an interval ' + (
            f'{" and one ".join(name for name, found in names.items() if found)} that exclude zero'
            if joint
            else 'over seeds alone that excludes zero'
        )
        chance = chance_of_one_sign(len(shared))
        if chance > 1 - LEVEL:
            told += (
                f'; but {len(shared)} seeds are few: equal models give differences that all '
                f'have the same sign in 1 of {round(1 / chance)} comparisons'
            )
    return Claim(
        group.label,
        baseline.label,
        verdict,
        f'{pair}: {figures}: {told}.',
        difference,
        interval,
        images,
    )


def _seeds(seeds: Collection[int]) -> str:
    seeds = sorted(seeds)
    return f'seed{"" if len(seeds) == 1 else "s"} {", ".join(map(str, seeds)) or "none"}'


def _at(step: int | None, unit: str) -> str:
    return '' if step is None else f', {unit} {step}'


def _over_images(images: ImageIntervals | None, digits: int) -> str:
    """The widest interval that predictions give, and what it covers."""
    if images is None:
        return ''
    found, what = images.widest, 'images and seeds' if images.both else 'images alone'
    return (
        f'; {LEVEL:.0%} bootstrap interval over {what} {found.low:+.{digits}f} to '
        f'{found.high:+.{digits}f}, {found.resamples:,} resamples of {images.count:,} images'
        + (f' and {_seeds(images.seeds)}' if images.both else '')
    )


def _diverged(lost: list[str]) -> str:
    return f'; {" and ".join(lost)} {DIVERGED}' if lost else ''
