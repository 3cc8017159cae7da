"""Checking what an evaluation measures, and that the best checkpoint is chosen by a part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.registry import EVALUATOR, HOOKS
from mmengine.runner import ValLoop

from ...utils.errors import UserError
from ...utils.text import first_few
from .planned import PlannedRun
from .registries import config_mistakes, find_type, is_type
from .schedule import loop_of

__all__ = ['check_metrics', 'check_save_best']

# Class of a metric to what its argument ``metric`` may be, and the prefix of what it gives.
METRICS = {
    'CocoMetric': (('bbox', 'segm', 'proposal', 'proposal_fast'), 'coco'),
    'VOCMetric': (('mAP', 'recall'), 'pascal_voc'),
}
COCO_AP = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
COCO_AR = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')


def check_metrics(run: PlannedRun) -> None:
    """Check the arguments ``metric`` and ``metric_items`` of CocoMetric and VOCMetric.

    Raises:
        UserError: The metric has no such measure, which would be told after the first epoch.
    """
    for key, metric, cls, _ in run.metrics():
        name = _known(cls)
        if name not in METRICS:
            continue
        allowed, _ = METRICS[name]
        if not metric.get('metric', allowed[0]):
            raise UserError(
                f'{key}.metric is {metric["metric"]!r}, so nothing would be measured: {name} '
                f'measures {first_few(allowed)}.'
            )
        for kind in _listed(metric.get('metric', allowed[0])):
            if kind not in allowed:
                raise UserError(
                    f'{key}.metric is {metric["metric"]!r}, which {name} does not measure: it '
                    f'measures {first_few(allowed)}; another kind of measure needs a metric of '
                    'another type.'
                )
        for item in _listed(metric.get('metric_items') or ()):
            if item not in (*COCO_AP, *COCO_AR):
                raise UserError(
                    f'{key}.metric_items has {item!r}, which {name} does not give: it gives '
                    f'{", ".join((*COCO_AP, *COCO_AR))}.'
                )


def check_save_best(run: PlannedRun) -> None:
    """Check the arguments of the checkpoint hook, above all what the best checkpoint is best in.

    Raises:
        UserError: An argument is wrong, or no metric of ``val_evaluator`` gives ``save_best``;
            mmengine would tell it after the first epoch.
    """
    hook = (run.cfg.get('default_hooks') or {}).get('checkpoint')
    if run.mode != 'train' or not isinstance(hook, Mapping):
        return
    cls = find_type(HOOKS, hook.get('type'))
    if not (isinstance(cls, type) and issubclass(cls, CheckpointHook)):
        return
    with config_mistakes(run.cfg, 'default_hooks.checkpoint'):
        HOOKS.build({key: value for key, value in deepcopy(hook).items() if key != 'priority'})
    interval = hook.get('interval', -1)
    if not isinstance(interval, int) or isinstance(interval, bool) or interval < 1 != -interval:
        raise UserError(
            f'default_hooks.checkpoint.interval is {interval!r}: it must be a number of epochs or '
            'iterations, 1 or more, or -1 to save the last checkpoint alone.'
        )
    known = _measured(run)
    for key in _listed(hook.get('save_best') or ()):
        if known is None or key == 'auto' or key in known:
            continue
        near = [name for name in known if name.endswith(f'/{key}')]
        near = near or get_close_matches(key, known, n=1, cutoff=0.5)
        given = f'it gives {first_few(known)}.' if known else 'it measures nothing.'
        hint = f'did you mean {near[0]!r}?' if near else given
        raise UserError(
            f'default_hooks.checkpoint.save_best is {key!r}, which val_evaluator does '
            f'not give: {hint}'
        )


def _measured(run: PlannedRun) -> list[str] | None:
    """The names of all that is measured while training, None where they are not known."""
    evaluator = run.cfg.get('val_evaluator')
    # Other loops and evaluators put words of their own before the names.
    if loop_of(run.cfg, 'val') is not ValLoop or (
        isinstance(evaluator, Mapping)
        and 'metrics' in evaluator
        and not is_type(EVALUATOR, evaluator.get('type', Evaluator), Evaluator)
    ):
        return None
    known = []
    for _, metric, cls, datasets in run.metrics():
        name = _known(cls)
        if name is None:
            return None
        prefix = metric.get('prefix') or (METRICS[name][1] if name in METRICS else 'accuracy')
        names = _names(name, metric)
        if name == 'CocoMetric' and metric.get('classwise'):
            names += [
                f'{one}_precision'
                for data in datasets
                for one in (data.cfg.get('metainfo') or {}).get('classes') or ()
            ]
            if not any((data.cfg.get('metainfo') or {}).get('classes') for data in datasets):
                return None
        known += [f'{prefix}/{one}' for one in names]
    return known


def _names(name: str, metric: Mapping) -> list[str]:
    """What a metric gives, without the prefix."""
    if name == 'TopKAccuracy':
        return [
            *(f'top{k}' for k in _listed(metric.get('topk', (1, 5)))),
            *(f'top1_{one}' for one in _listed(metric.get('classes') or ())),
        ]
    if metric.get('format_only'):
        return []
    kinds = _listed(metric.get('metric', METRICS[name][0][0]))
    if name == 'VOCMetric':
        numbers = _listed(metric.get('proposal_nums', (100, 300, 1000)))
        thresholds = _listed(metric.get('iou_thrs', 0.5))
        return {
            'mAP': ['mAP', *(f'AP{int(t * 100):02d}' for t in thresholds)],
            'recall': [
                *(f'recall@{n}@{t}' for n in numbers for t in thresholds),
                *(f'AR@{n}' for n in numbers if len(thresholds) > 1),
            ],
        }[kinds[0]]
    items = metric.get('metric_items')
    found = []
    for kind in kinds:
        if kind == 'proposal_fast':
            found += [f'AR@{n}' for n in metric.get('proposal_nums', (100, 300, 1000))]
        elif kind == 'proposal':
            found += items or COCO_AR
        else:
            found += [f'{kind}_{item}' for item in items or COCO_AP]
    return found


def _known(cls: type | None) -> str | None:
    """Which of the metrics whose measures are known a class is, or takes its measures from."""
    if not isinstance(cls, type):
        return None
    for base in cls.__mro__:
        if base.__name__ in (*METRICS, 'TopKAccuracy'):
            same = getattr(cls, 'compute_metrics', None) is getattr(base, 'compute_metrics', None)
            return base.__name__ if same else None
    return None


def _listed(value: Any) -> list:
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return list(value) if several else [value]
