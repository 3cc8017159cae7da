"""Detections of a prediction file, judged by COCO's ground truth."""

import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from ..analysis.detection_matches import match_detections
from ..engine.errors import UserError
from .image_results import DetectionResults

__all__ = ['coco_part', 'read_detections']

# The end of a COCO metric's name to the part of the evaluation that it is of.
PARTS = {
    '': {},
    '_50': dict(thresholds=[0.5]),
    '_75': dict(thresholds=[0.75]),
    '_s': dict(area='small'),
    '_m': dict(area='medium'),
    '_l': dict(area='large'),
}


def read_detections(
    file: Path, predictions: Sequence[Mapping], dataset: Any, evaluator: Any, metric: str
) -> DetectionResults:
    """Match detections with the ground truth of the evaluator, as CocoMetric does.

    Args:
        file (Path): where the predictions are from, for messages.
        predictions (Sequence[Mapping]): one for each image.
        dataset (Any): the CocoDataset that was predicted.
        evaluator (Any): ``val_evaluator`` of the configuration.
        metric (str): for which :func:`coco_part` holds something.

    Raises:
        UserError: the predictions are of other images or classes, or there is no ground truth.
    """
    metrics = evaluator if isinstance(evaluator, Sequence) else [evaluator]
    coco_metric = next(
        (
            found
            for found in metrics
            if isinstance(found, Mapping) and str(found.get('type')).endswith('CocoMetric')
        ),
        {},
    )
    coco, names = _ground_truth(file, coco_metric, dataset)
    found = _by_image(file, predictions, coco, len(names))
    detections = [
        dict(
            image_id=image,
            category_id=names[label][0],
            score=score,
            bbox=[box[0], box[1], box[2] - box[0], box[3] - box[1]],
        )
        for image, boxes in found.items()
        for box, label, score in zip(
            *(boxes[key].tolist() for key in ('bboxes', 'labels', 'scores')), strict=True
        )
    ]
    # mmdet's mAP counts 100 detections of an image, its other figures the most it evaluates.
    most = (
        100
        if metric == 'coco/bbox_mAP'
        else max(coco_metric.get('proposal_nums', (100, 300, 1000)))
    )
    matches = match_detections(
        coco, detections, dict(names), max_per_image=most, **coco_part(metric)
    )
    return DetectionResults(matches, found, dataset)


def coco_part(metric: str) -> dict | None:
    """What of COCO's evaluation a metric is of, None for what is no average precision of boxes."""
    found = re.fullmatch(r'coco/bbox_mAP(|_50|_75|_s|_m|_l)', metric)
    return None if found is None else PARTS[found[1]]


def _ground_truth(file, coco_metric, dataset):
    from pycocotools.coco import COCO

    path = coco_metric.get('ann_file')
    if not path:
        raise UserError(
            f'{file} cannot be judged: val_evaluator is no CocoMetric with an ann_file.'
        )
    try:
        with redirect_stdout(StringIO()):
            coco = COCO(path)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f'the ground truth {path} cannot be read ({error}).') from error
    # In the order of the file, as CocoMetric gives labels their categories.
    ids = coco.getCatIds(catNms=list(dataset.metainfo['classes']))
    return coco, [(i, coco.cats[i]['name']) for i in ids]


def _by_image(file, predictions, coco, classes):
    found = {}
    for place, item in enumerate(predictions):
        boxes, image = item.get('pred_instances'), item.get('img_id')
        if not _are_boxes(boxes) or image is None:
            raise UserError(
                f'{file} holds no detections: entry {place} has no img_id, or no '
                'pred_instances of as many bboxes, labels and scores.'
            )
        foreign = [i for i in boxes['labels'].tolist() if i not in range(classes)]
        if foreign:
            raise UserError(
                f'{file} is of other classes: image {image} has class number '
                f'{foreign[0]}, the ground truth has {classes} classes.'
            )
        name = Path(str(item.get('img_path', ''))).name
        if (
            image in found
            or image not in coco.imgs
            or name not in ('', Path(coco.imgs[image]['file_name']).name)
        ):
            raise UserError(
                f'{file} is of other images: its image {image} ({name}) is not in the '
                'ground truth, or twice in the file.'
            )
        found[image] = boxes
    missing = sorted(coco.imgs.keys() - found.keys())
    if missing:
        raise UserError(
            f'{file} is of other images: {len(missing)} of {len(coco.imgs)} are '
            f'missing, as image {missing[0]}.'
        )
    return dict(sorted(found.items()))


def _are_boxes(boxes):
    if not isinstance(boxes, Mapping):
        return False
    tensors = [boxes.get(key) for key in ('bboxes', 'labels', 'scores')]
    return all(isinstance(item, torch.Tensor) for item in tensors) and [
        tuple(item.shape) for item in tensors
    ] == [(len(tensors[0]), 4), (len(tensors[0]),), (len(tensors[0]),)]
