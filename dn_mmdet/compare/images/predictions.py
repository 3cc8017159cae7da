"""What runs predict for single images, where their folders have it, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...runs.make_predictions import make_predictions
from ...runs.run import Run
from ...utils.errors import UserError
from ..claims import judge
from ..comparison import Comparison
from ..metrics import digits_of
from .intervals import IMAGE_RESAMPLES, ImageIntervals, image_intervals, resampled_values
from .read import can_read, prediction_file, read_results
from .results import ImageResults

__all__ = ['Predictions', 'add_predictions']


@dataclass(frozen=True)
class Predictions:
    """Results by image of the runs that have them.

    Attributes:
        results (dict[str, ImageResults]): work folder to results, all on the same images.
        intervals (dict[str, ImageIntervals]): label of a group to those against its baseline.
        left_out (list[str]): a sentence for each file, or kind of run, that is not used.
        resamples (int): draws of images that were asked for.
    """

    results: dict[str, ImageResults] = field(default_factory=dict)
    intervals: dict[str, ImageIntervals] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    resamples: int = IMAGE_RESAMPLES

    def of(self, runs: Sequence[Run]) -> dict[int, ImageResults]:
        """Seed to results, of those runs that have them."""
        return {
            run.seed: self.results[run.work_dir] for run in runs if run.work_dir in self.results
        }

    def pairs(self, comparison: Comparison, label: str) -> dict[int, tuple]:
        """Seed to results of the baseline and of a group, where both have them."""
        first, second = (
            self.of(group.usable)
            for group in (comparison.baselines[label], comparison.group(label))
        )
        return {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}


def add_predictions(
    comparison: Comparison, resamples: int = IMAGE_RESAMPLES, test: bool = False
) -> Comparison:
    """Read prediction files, draw images anew, and judge the groups again by that too.

    A prediction file that cannot be used is named and left out: its run is compared by its log.

    Args:
        comparison (Comparison): of the logs.
        resamples (int): see :func:`resampled_values`; 0 for no intervals. Default: 1,000.
        test (bool): make the prediction files that are missing first. Default: False.

    Returns:
        Comparison: with ``predictions``, and claims that rest on them where they are there.
    """
    metric = comparison.metric
    found = Predictions(resamples=resamples)
    if not can_read(metric):
        if test:
            found.left_out.append(
                f"{metric} cannot be taken from predictions, as COCO's box mAP "
                'and accuracy can: no run was tested.'
            )
        return replace(comparison, predictions=found)
    runs = [run for group in comparison.groups for run in group.usable]
    if comparison.step is not None:
        found.left_out.append(
            'Not all runs are finished: predictions, which are of a last '
            'checkpoint, are not compared.'
        )
        return replace(comparison, predictions=found)
    if test:
        found.left_out.extend(make_predictions(runs))
    opened = {}
    for run in runs:
        _read(run, metric, found, opened)
    if resamples and any(found.pairs(comparison, label) for label in comparison.baselines):
        found.intervals.update(_intervals(comparison, found, resamples))
    digits = digits_of(comparison.groups, metric)
    return replace(
        comparison,
        predictions=found,
        claims=[
            judge(
                group,
                comparison.baselines[group.label],
                metric,
                digits,
                comparison.step,
                comparison.unit,
                found.intervals.get(group.label),
            )
            for group in comparison.groups
            if group.label in comparison.baselines
        ],
    )


def _read(run, metric, found, opened):
    file = prediction_file(run)
    if file is None:
        return
    try:
        results = read_results(run, file, metric, opened)
    except UserError as error:
        found.left_out.append(str(error))
        return
    first = next(iter(found.results.values()), results)
    if (results.images, results.classes) != (first.images, first.classes):
        what = 'images' if results.images != first.images else 'classes'
        found.left_out.append(
            f'{file} is of other {what} than the predictions of {next(iter(found.results))}.'
        )
        return
    found.results[run.work_dir] = results


def _intervals(comparison, found, resamples):
    """Label to intervals; each run is measured once on each draw, whatever it is compared with."""
    names = list(found.results)
    results = list(found.results.values())
    values = resampled_values(results, resamples)
    column = {id(result): values[:, place] for place, result in enumerate(results)}
    measured = {id(result): result.value() for result in results}
    for label in comparison.baselines:
        pairs = found.pairs(comparison, label)
        if pairs and names:
            yield (
                label,
                image_intervals(
                    np.stack(
                        [
                            column[id(second)] - column[id(first)]
                            for first, second in pairs.values()
                        ],
                        axis=1,
                    ),
                    [
                        measured[id(second)] - measured[id(first)]
                        for first, second in pairs.values()
                    ],
                    len(results[0].images),
                    list(pairs),
                ),
            )
