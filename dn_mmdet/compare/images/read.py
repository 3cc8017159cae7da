"""From a run's prediction file to results by image, or the reason why it cannot be used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS

from ...classification.accuracy import rank_of_class
from ...engine.preflight.registries import config_scope
from ...runs.predictions import PREDICTIONS, read_predictions
from ...runs.run import Run
from ...utils.errors import UserError
from ...utils.python39 import zip_strict
from ...utils.versions import installed_version
from .matches import match_detections
from .results import ClassResults, DetectionResults, ImageResults

if TYPE_CHECKING:
    from ...detection import CocoFile

__all__ = [
    'TOLERANCE',
    'can_read',
    'coco_part',
    'prediction_file',
    'read_classes',
    'read_detections',
    'read_results',
    'top_k',
]

# How far the metric of the predictions may lie from that in the log, as a share: another device
# or batch size moves it less, another checkpoint or other data mostly more.
TOLERANCE = 0.005

# The end of a COCO metric's name to the part of the evaluation that it is of.
PARTS = {
    '': {},
    '_50': dict(thresholds=[0.5]),
    '_75': dict(thresholds=[0.75]),
    '_s': dict(area='small'),
    '_m': dict(area='medium'),
    '_l': dict(area='large'),
}


def can_read(metric: str) -> bool:
    """Whether a metric can be taken from predictions: COCO's box mAP, or accuracy."""
    return coco_part(metric) is not None or top_k(metric) is not None


def prediction_file(run: Run) -> Path | None:
    """``predictions.pkl`` of a run's work folder, else the newest pickle there, else None."""
    named = Path(run.work_dir, PREDICTIONS)
    found = (
        [named]
        if named.is_file()
        else [
            path
            for path in Path(run.work_dir).iterdir()
            if path.suffix in ('.pkl', '.pickle') and path.is_file()
        ]
    )
    return max(found, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def read_results(
    run: Run, file: Path, metric: str, opened: dict[str, tuple[Any, Any]] | None = None
) -> ImageResults:
    """Predictions of a run, checked against the data and the log of the run.

    Args:
        run (Run): A finished one.
        file (Path): A file of ``tools/test.py --out``.
        metric (str): One for which :func:`can_read` holds.
        opened (dict[str, tuple[Any, Any]], optional): Where data sets and evaluators are kept for
            runs that share them. Defaults to none.

    Raises:
        UserError: The file cannot be read, is for other images or classes or from another
            checkpoint, or the run's val data are not here.
    """
    predictions = read_predictions(file)
    dataset, evaluator = _open_data(run, {} if opened is None else opened)
    k = top_k(metric)
    results = (
        read_detections(file, predictions, dataset, evaluator, metric)
        if k is None
        else read_classes(file, predictions, dataset, k)
    )
    logged, found = run.value(metric), results.value()
    scale = 1 if k is None else 100
    if not abs(found - logged) <= TOLERANCE * scale:  # NaN is not within it either
        raise UserError(
            f'{file} gives {metric} {found:.4g}, but the log of {run.work_dir} ends with '
            f'{logged:.4g}: the file comes from another checkpoint or other data. Make it again '
            'from the last checkpoint with --test.'
        )
    return results


def _open_data(run: Run, opened: dict[str, tuple[Any, Any]]) -> tuple[Any, Any]:
    """The val data set of a run, and ``val_evaluator`` of its configuration."""
    config = run.buildable('val_dataloader', 'val_evaluator', 'default_scope')
    evaluator = config.get('val_evaluator')
    key = str((config.val_dataloader.dataset, evaluator))
    if key not in opened:
        opened[key] = _build(run, config), evaluator
    return opened[key]


def _build(run: Run, config: Config) -> Any:
    if installed_version('mmdet'):
        from ...detection import use_coco_files, use_sound_boxes

        use_coco_files()
        use_sound_boxes()
    try:
        # Data sets and pycocotools print that they load.
        with (
            config_scope(config),
            redirect_stdout(StringIO()),
        ):
            dataset = DATASETS.build(config.val_dataloader.dataset)
            dataset.full_init()
    except Exception as error:  # a data set is a class of any package
        raise UserError(
            f'the val data of {run.work_dir} cannot be opened here '
            f'({" ".join(str(error).split())[:300]}).'
        ) from error
    return dataset


def read_classes(file: Path, predictions: Sequence[Mapping], dataset: Any, k: int) -> ClassResults:
    """Compare predicted classes with those of the data set.

    Args:
        file (Path): Where the predictions are from, for messages.
        predictions (Sequence[Mapping]): One for each image.
        dataset (Any): The data set that was predicted.
        k (int): An image is right where its class is among the k first.

    Raises:
        UserError: The predictions are for other images or classes.
    """
    classes = dataset.metainfo['classes']
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    paths, labels = [info['img_path'] for info in infos], [info['gt_label'] for info in infos]
    by_path = {str(item.get('img_path')): item for item in predictions}
    if len(by_path) != len(predictions) or by_path.keys() != set(paths):
        foreign = sorted(by_path.keys() ^ set(paths))
        why = f'{foreign[0]} is only in one of them' if foreign else 'some are there twice'
        raise UserError(f'{file} is for other images than the val data: {why}.')
    ordered = [by_path[path] for path in paths]
    scores = [item.get('pred_score') for item in ordered]
    if not all(
        isinstance(score, torch.Tensor) and score.shape == (len(classes),) for score in scores
    ):
        raise UserError(
            f'{file} is for other classes: an image has no pred_score for each of the '
            f'{len(classes)}.'
        )
    if [item.get('gt_label') for item in ordered] != labels:
        raise UserError(f'{file} is for other classes: its gt_label are not those of the val data.')
    scores, labels = torch.stack(scores).float(), np.array(labels)
    right = rank_of_class(scores, torch.from_numpy(labels)) < k
    root = os.path.commonpath([os.path.dirname(path) for path in paths])
    return ClassResults(
        [os.path.relpath(path, root) for path in paths],
        labels,
        scores.numpy(),
        right.numpy(),
        classes,
        dataset,
    )


def top_k(metric: str) -> int | None:
    """The k of 'accuracy/top5'; None for what is not such an accuracy."""
    found = re.fullmatch(r'accuracy/top(\d+)', metric)
    return None if found is None else int(found[1])


def read_detections(
    file: Path, predictions: Sequence[Mapping], dataset: Any, evaluator: Any, metric: str
) -> DetectionResults:
    """Match detections with the ground truth of the evaluator, as CocoMetric does.

    Args:
        file (Path): Where the predictions are from, for messages.
        predictions (Sequence[Mapping]): One for each image.
        dataset (Any): The CocoDataset that was predicted.
        evaluator (Any): ``val_evaluator`` of the configuration.
        metric (str): One for which :func:`coco_part` gives something.

    Raises:
        UserError: The predictions are for other images or classes, or there is no ground truth.
    """
    metrics = evaluator if isinstance(evaluator, Sequence) else [evaluator]
    coco_metric = next(
        (
            found
            for found in metrics
            if isinstance(found, Mapping) and str(found.get('type')).endswith('CocoMetric')
        ),
        None,
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
        for box, label, score in zip_strict(
            *(boxes[key].tolist() for key in ('bboxes', 'labels', 'scores'))
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


def coco_part(metric: str) -> dict[str, Any] | None:
    """What of COCO's evaluation a metric is of, None for any but average precision of boxes."""
    found = re.fullmatch(r'coco/bbox_mAP(|_50|_75|_s|_m|_l)', metric)
    return None if found is None else PARTS[found[1]]


def _ground_truth(
    file: Path, coco_metric: Mapping[str, Any] | None, dataset: Any
) -> tuple[CocoFile, list[tuple[int | str, str]]]:
    """The objects, and the id and name of each class in the order of its label."""
    from ...detection import CocoFile

    if coco_metric is None:
        raise UserError(f'{file} cannot be evaluated: val_evaluator is not a CocoMetric.')
    path = coco_metric.get('ann_file')
    try:
        with redirect_stdout(StringIO()):
            coco = CocoFile(path) if path else _annotations(dataset)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f'the ground truth {path} cannot be read ({error}).') from error
    # By name and in the order of the class list, as labels are given their categories.
    ids = coco.get_cat_ids(cat_names=dataset.metainfo['classes'])
    return coco, [(i, coco.cats[i]['name']) for i in ids]


def _annotations(dataset: Any) -> CocoFile:
    """The boxes of a data set as CocoMetric takes them where it has no file, as from XML data."""
    from ...detection import CocoFile

    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    boxes = [(info['img_id'], box) for info in infos for box in info.get('instances') or ()]
    coco = CocoFile()
    coco.dataset = dict(
        images=[
            dict(
                id=info['img_id'],
                file_name=info['img_path'],
                width=info['width'],
                height=info['height'],
            )
            for info in infos
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(dataset.metainfo['classes'])],
        annotations=[
            dict(
                id=number,
                image_id=image,
                category_id=box['bbox_label'],
                bbox=[left, top, right - left, bottom - top],
                area=(right - left) * (bottom - top),
                iscrowd=box.get('ignore_flag', 0),
            )
            for number, (image, box) in enumerate(boxes, 1)
            for left, top, right, bottom in [box['bbox']]
        ],
    )
    coco.createIndex()
    return coco


def _by_image(
    file: Path, predictions: Sequence[Mapping], coco: CocoFile, classes: int
) -> dict[int | str, Mapping]:
    """Image id to boxes, by id."""
    found = {}
    for place, item in enumerate(predictions):
        boxes, image = item.get('pred_instances'), item.get('img_id')
        if not _are_boxes(boxes) or image is None:
            raise UserError(
                f'{file} holds no detections: entry {place} has no img_id, or no '
                'pred_instances with equally many bboxes, labels and scores.'
            )
        foreign = [i for i in boxes['labels'].tolist() if i not in range(classes)]
        if foreign:
            raise UserError(
                f'{file} is for other classes: image {image} has class number '
                f'{foreign[0]}, the ground truth has {classes} classes.'
            )
        name = Path(str(item.get('img_path', ''))).name
        if (
            image in found
            or image not in coco.imgs
            or name not in ('', Path(coco.imgs[image]['file_name']).name)
        ):
            raise UserError(
                f'{file} is for other images: its image {image} ({name}) is not in the '
                'ground truth, or occurs twice in the file.'
            )
        found[image] = boxes
    missing = sorted(coco.imgs.keys() - found.keys())
    if missing:
        raise UserError(
            f'{file} is for other images: {len(missing)} of {len(coco.imgs)} are '
            f'missing, for example image {missing[0]}.'
        )
    return dict(sorted(found.items()))


def _are_boxes(boxes: Any) -> bool:
    if not isinstance(boxes, Mapping):
        return False
    tensors = [boxes.get(key) for key in ('bboxes', 'labels', 'scores')]
    return all(isinstance(item, torch.Tensor) for item in tensors) and [
        tuple(item.shape) for item in tensors
    ] == [(len(tensors[0]), 4), (len(tensors[0]),), (len(tensors[0]),)]
