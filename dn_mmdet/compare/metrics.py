"""Which metric decides, and how metrics are written."""

from __future__ import annotations

from collections.abc import Sequence

from ..utils.errors import UserError
from .groups import Group

__all__ = ['choose_metric', 'digits_of', 'is_class', 'lower_is_better', 'rounding', 'short_name']

PREFERRED = ('coco/bbox_mAP', 'coco/segm_mAP', 'accuracy/top1')


def choose_metric(groups: Sequence[Group], wanted: str | None) -> tuple[str, list[str]]:
    """The metric that decides, and all that every run has, per class ones left out.

    Args:
        groups (Sequence[Group]): The groups to compare.
        wanted (str, optional): A name, or its end, as 'bbox_mAP_50'. Defaults to COCO's mAP or
            top-1 accuracy; without them to the first by name.

    Returns:
        tuple[str, list[str]]: The metric; all common ones, in the order of the log, it first.

    Raises:
        UserError: Every run diverged, or they have no metric in common, or not the wanted one.
    """
    runs = [run for group in groups for run in group.usable]
    if not runs:
        raise UserError(
            'every run diverged to a loss that is not finite: there is nothing to compare.'
        )
    common = set.intersection(*(run.metrics for run in runs))
    order = runs[0].log.val.get(runs[0].last, {})
    plain = [name for name in order if name in common and not is_class(name)]
    if not plain:
        raise UserError(
            'the runs have no metric in common: '
            + '; '.join(
                f'{run.work_dir} has {", ".join(sorted(run.metrics)) or "none"}' for run in runs
            )
            + '. Compare runs that were evaluated alike.'
        )
    if wanted is None:
        chosen = next((name for name in PREFERRED if name in plain), sorted(plain)[0])
    else:
        fitting = [name for name in plain if name == wanted] or [
            name for name in plain if name.split('/')[-1] == wanted or short_name(name) == wanted
        ]
        if len(fitting) != 1:
            raise UserError(
                f'--metric {wanted} is not a metric that all runs have: choose one of '
                f'{", ".join(plain)}.'
            )
        chosen = fitting[0]
    return chosen, [chosen, *(name for name in plain if name != chosen)]


def short_name(metric: str) -> str:
    """'mAP' for 'coco/bbox_mAP', 'top1' for 'accuracy/top1'."""
    return metric.split('/')[-1].removeprefix('bbox_').removesuffix('_precision')


def is_class(metric: str) -> bool:
    """Whether it is the average precision of one class, as ``CocoMetric(classwise=True)`` logs."""
    return metric.startswith('coco/') and metric.endswith('_precision')


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value is the better one, as mmengine's CheckpointHook has it."""
    return 'loss' in metric


def rounding(metric: str) -> float:
    """How far a difference may come of the rounding in the log: mmdet rounds COCO's to 0.001."""
    return 0.001 if metric.startswith('coco/') else 0.0


def digits_of(groups: Sequence[Group], metric: str) -> int:
    """Decimals to write: 3 for a share, as average precision, 2 for a percentage."""
    values = [value for group in groups for value in group.summary(metric).values.values()]
    return 3 if all(abs(value) <= 1 for value in values) else 2
