"""Checking the annotation file that COCO's evaluation will read after the first epoch."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import METRICS

from .annotation_file import read_annotation_file
from .check_coco import joined
from .check_images import some
from .errors import UserError
from .lookup import find_type

__all__ = ['check_evaluator', 'each_metric', 'wants_labels']


def check_evaluator(evaluator: Any, key: str, dataset: Any) -> None:
    """Check the ``ann_file`` of every CocoMetric.

    Args:
        evaluator (Mapping | Sequence): ``val_evaluator`` or ``test_evaluator``.
        key (str): Its key, for messages.
        dataset (Mapping): The data set that is evaluated.

    Raises:
        UserError: The file is missing or no COCO annotation file, or does not list the images
            of the data set.
    """
    for at, metric in _coco_metrics(evaluator, key):
        path = metric.get('ann_file')
        if not path or metric.get('backend_args'):
            continue
        labels = not metric.get('format_only', False)
        content = read_annotation_file(path, f'{at}.ann_file', labels, evaluated=labels)
        known = {image['id'] for image in content['images']}
        own = _ann_file(dataset)
        if own is None or os.path.realpath(own) == os.path.realpath(path):
            continue
        images = read_annotation_file(own, 'dataset.ann_file', labels=False)['images']
        unknown = [image['file_name'] for image in images if image['id'] not in known]
        if unknown:
            raise UserError(
                f'{at}.ann_file is {path}, but the images to evaluate come from {own}, and '
                f'{len(unknown)} of them are not in it ({some(unknown)}): give both the same file.'
            )


def wants_labels(evaluator: Any) -> bool:
    """Whether an evaluation compares with annotations, or only writes predictions."""
    return not any(metric.get('format_only') for _, metric in _coco_metrics(evaluator, ''))


def each_metric(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping, type | None]]:
    """Dotted key, configuration and class of every metric of an evaluator."""
    if isinstance(evaluator, Mapping):
        yield key, evaluator, find_type(METRICS, evaluator.get('type'))
    elif isinstance(evaluator, Sequence) and not isinstance(evaluator, str):
        for i, metric in enumerate(evaluator):
            yield from each_metric(metric, f'{key}.{i}')


def _coco_metrics(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    for at, metric, cls in each_metric(evaluator, key):
        bases = cls.__mro__ if isinstance(cls, type) else ()
        base = next((c for c in bases if c.__name__ == 'CocoMetric'), None)
        # A subclass with an evaluation of its own, as LVIS has, reads files of its own.
        if base is not None and cls.compute_metrics is base.compute_metrics:
            yield at, metric


def _ann_file(dataset: Any) -> str | None:
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    if not isinstance(dataset, Mapping) or not dataset.get('ann_file'):
        return None
    return joined(dataset.get('data_root') or '', dataset['ann_file'])
