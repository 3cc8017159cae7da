"""The curves of a report: the metric at each evaluation, and the loss."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from ...figures.curves import plot_bands
from ...utils.python39 import zip_strict
from ..comparison import Comparison
from ..metrics import short_name

__all__ = ['draw_loss', 'draw_metric']

# A training's loss is averaged over so many parts of it, however often it was logged.
PARTS = 20


def draw_metric(comparison: Comparison, file: Path) -> None:
    """The deciding metric against the epoch: mean over seeds, and their range as a band."""
    curves = {}
    for group in comparison.groups:
        steps = [
            [step for step in run.steps if run.value(comparison.metric, step) is not None]
            for run in group.usable
        ]
        curves[group.label] = [
            (found, [run.value(comparison.metric, step) for step in found])
            for run, found in zip_strict(group.usable, steps)
        ]
    plot_bands(curves, file, xlabel=comparison.unit, ylabel=short_name(comparison.metric))


def draw_loss(comparison: Comparison, file: Path) -> int:
    """The training loss against the iteration, a running mean.

    Args:
        comparison (Comparison): What is drawn.
        file (Path): The picture.

    Returns:
        int: Logged values in a mean at most; 0 without a picture where no loss was logged.
    """
    losses = {
        group.label: [
            [(step, row['loss']) for step, row in sorted(run.log.train.items()) if 'loss' in row]
            for run in group.usable
        ]
        for group in comparison.groups
    }
    longest = max((len(points) for seeds in losses.values() for points in seeds), default=0)
    if not longest:
        return 0
    window = max(longest // PARTS, 1)
    plot_bands(
        {
            label: [
                ([step for step, _ in points], _smooth([loss for _, loss in points], window))
                for points in seeds
            ]
            for label, seeds in losses.items()
        },
        file,
        xlabel='iteration',
        ylabel='training loss',
        markers=False,
    )
    return window


def _smooth(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and up to ``window - 1`` before it."""
    return [mean(values[max(i + 1 - window, 0) : i + 1]) for i in range(len(values))]
