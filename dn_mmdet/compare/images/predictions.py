"""What runs predict for single images, where their folders have it, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tqdm import tqdm

from ...runs.make_predictions import make_predictions
from ...runs.run import Run
from ...utils.errors import UserError
from ..groups import Group
from .intervals import IMAGE_RESAMPLES, ImageIntervals, image_intervals, resampled_values
from .read import can_read, prediction_file, read_results
from .results import ImageResults

__all__ = ['Predictions', 'collect_predictions']

# Seed to results of the baseline and of the group.
Pairs = dict[int, tuple[ImageResults, ImageResults]]


@dataclass(frozen=True)
class Predictions:
    """Results by image of the runs that have them.

    Attributes:
        results (Mapping[str, ImageResults]): Work folder to results, all on the same images.
        intervals (Mapping[str, ImageIntervals]): Label of a group to those against its baseline.
        left_out (tuple[str, ...]): A sentence for each file, or kind of run, that is not used.
        resamples (int): Draws of images that were asked for.
    """

    results: Mapping[str, ImageResults]
    intervals: Mapping[str, ImageIntervals]
    left_out: tuple[str, ...]
    resamples: int

    def of(self, runs: Sequence[Run]) -> dict[int, ImageResults]:
        """Seed to results, of those runs that have them."""
        return _by_seed(self.results, runs)

    def pairs(self, group: Group, baseline: Group) -> Pairs:
        """Seed to results of a baseline and of a group, where both have them."""
        return _pairs(self.results, group, baseline)


def collect_predictions(
    groups: Sequence[Group],
    compared: Sequence[tuple[Group, Group]],
    metric: str,
    step: int | None = None,
    resamples: int = IMAGE_RESAMPLES,
    test: bool = False,
) -> Predictions:
    """Read prediction files and resample the images.

    A prediction file that cannot be used is named and left out: its run is compared by its log.

    Args:
        groups (Sequence[Group]): Whose runs have predictions.
        compared (Sequence[tuple[Group, Group]]): Each group with a baseline, and that.
        metric (str): The metric that decides.
        step (int, optional): Where unfinished runs are compared, which have no last checkpoint to
            predict with. Defaults to None, which says that all are finished.
        resamples (int): See :func:`resampled_values`; 0 for no intervals. Defaults to 1,000.
        test (bool): Whether the prediction files that are missing are made first. Defaults to
            False.
    """
    results, intervals, left_out = {}, {}, []
    if not can_read(metric):
        if test:
            left_out.append(
                f"{metric} cannot be computed from predictions (only COCO's box mAP and "
                'accuracy can): no run was tested.'
            )
    elif step is not None:
        left_out.append(
            'Not all runs are finished: predictions, which come from a last checkpoint, are not '
            'compared.'
        )
    else:
        runs = [run for group in groups for run in group.usable]
        if test:
            left_out += make_predictions(runs)
        results, unused = _read_all(runs, metric)
        left_out += unused
        if resamples:
            intervals = _intervals(results, compared, resamples)
    return Predictions(
        MappingProxyType(results), MappingProxyType(intervals), tuple(left_out), resamples
    )


def _read_all(runs: Sequence[Run], metric: str) -> tuple[dict[str, ImageResults], list[str]]:
    """Work folder to results, and why some files are not used."""
    results, left_out, opened = {}, [], {}
    files = {run: file for run in runs if (file := prediction_file(run)) is not None}
    for run, file in tqdm(files.items(), 'reading predictions', unit='run', disable=None, delay=2):
        try:
            found = read_results(run, file, metric, opened)
            _check_alike(found, file, results)
        except UserError as error:
            left_out.append(str(error))
        else:
            results[run.work_dir] = found
    return results, left_out


def _check_alike(found: ImageResults, file: Path, results: Mapping[str, ImageResults]) -> None:
    for work_dir, first in list(results.items())[:1]:
        if (found.images, found.classes) != (first.images, first.classes):
            what = 'images' if found.images != first.images else 'classes'
            raise UserError(f'{file} is for other {what} than the predictions of {work_dir}.')


def _intervals(
    results: Mapping[str, ImageResults], compared: Sequence[tuple[Group, Group]], resamples: int
) -> dict[str, ImageIntervals]:
    """Label to intervals; each run is measured once on each draw, whatever it is compared with."""
    pairs = {group.label: _pairs(results, group, baseline) for group, baseline in compared}
    pairs = {label: found for label, found in pairs.items() if found}
    if not pairs:
        return {}
    runs = list(results.values())
    values = resampled_values(runs, resamples)
    column = {id(run): values[:, place] for place, run in enumerate(runs)}
    measured = {id(run): run.value() for run in runs}
    return {
        label: image_intervals(
            np.stack([column[id(b)] - column[id(a)] for a, b in found.values()], axis=1),
            [measured[id(b)] - measured[id(a)] for a, b in found.values()],
            len(runs[0].images),
            list(found),
        )
        for label, found in pairs.items()
    }


def _by_seed(results: Mapping[str, ImageResults], runs: Sequence[Run]) -> dict[int, ImageResults]:
    return {run.seed: results[run.work_dir] for run in runs if run.work_dir in results}


def _pairs(results: Mapping[str, ImageResults], group: Group, baseline: Group) -> Pairs:
    first, second = _by_seed(results, baseline.usable), _by_seed(results, group.usable)
    return {seed: (first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())}
