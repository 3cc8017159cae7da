"""Detections of several models next to the ground truth, drawn by mmdet's visualizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from ..detection import use_coco_files
from ..runs.predictions import read_predictions
from ..utils.python39 import zip_strict
from .style import PALETTE, new_figure, save_figure

__all__ = ['draw_detections', 'draw_side_by_side']

# All images are brought to one size, at which the labels of the boxes can be read.
SIDE = 360


def draw_detections(
    dataset_cfg: Mapping[str, Any],
    results: Mapping[str, str | Path],
    file: str | Path,
    num_images: int = 4,
    score_thr: float = 0.3,
) -> None:
    """Draw one row for each image: the ground truth, then what each model found.

    The images are taken evenly from the data set, among those that show anything.

    Args:
        dataset_cfg (Mapping[str, Any]): Config of the test data set.
        results (Mapping[str, str | Path]): Label to the file that ``tools/test.py --out`` wrote.
        file (str | Path): The picture, .png, .svg or .pdf.
        num_images (int): Number of rows. Defaults to 4.
        score_thr (float): Detections below this score are not drawn. Defaults to 0.3, as in
            mmdet.
    """
    use_coco_files()
    with redirect_stdout(StringIO()):  # pycocotools prints that it loads
        dataset = DATASETS.build(dataset_cfg)
    shown = [i for i in range(len(dataset)) if dataset.get_data_info(i)['instances']]
    shown = [shown[i] for i in np.linspace(0, len(shown) - 1, num_images).astype(int)]
    found = {
        label: {sample['img_id']: sample['pred_instances'] for sample in read_predictions(path)}
        for label, path in results.items()
    }
    titles = [['ground truth', *(f'{label}, score >= {score_thr}' for label in results)]]
    titles += [[''] * len(titles[0])] * (len(shown) - 1)
    draw_side_by_side(dataset, shown, found, file, titles, score_thr)


def draw_side_by_side(
    dataset: Any,
    shown: Sequence[int],
    found: Mapping[str, Mapping[int, Mapping]],
    file: str | Path,
    titles: Sequence[Sequence[str]],
    score_thr: float = 0.3,
) -> None:
    """Draw given images of a data set: the ground truth, then what each model found.

    Args:
        dataset (Any): A built CocoDataset, or one that tells ``img_id`` and ``instances`` too.
        shown (Sequence[int]): Places in the data set, a row each.
        found (Mapping[str, Mapping[int, Mapping]]): Label to image id to ``bboxes`` (N, 4) in
            pixels, ``labels`` and ``scores``, all tensors.
        file (str | Path): The picture, .png, .svg or .pdf.
        titles (Sequence[Sequence[str]]): Of each row's pictures, the ground truth first.
        score_thr (float): Detections below this score are not drawn. Defaults to 0.3, as in
            mmdet.
    """
    classes = dataset.metainfo['classes']
    meta = dict(classes=classes, palette=list(islice(cycle(PALETTE), len(classes))))
    figure = new_figure(3 * (1 + len(found)), 3 * len(shown), dpi=SIDE / 3)
    axes = figure.subplots(len(shown), 1 + len(found), squeeze=False)
    for row, index, texts in zip_strict(axes, shown, titles):
        info = dataset.get_data_info(index)
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        pictures = [_draw(image, _ground_truth(info), meta)]
        pictures += [
            _draw(image, InstanceData(**by_id[info['img_id']]), meta, score_thr)
            for by_id in found.values()
        ]
        for axis, picture, text in zip_strict(row, pictures, texts):
            axis.imshow(picture)
            axis.axis('off')
            axis.set_title(text, fontsize=12)
    save_figure(figure, file)


def _ground_truth(info: Mapping[str, Any]) -> InstanceData:
    boxes = [instance['bbox'] for instance in info['instances']]
    labels = [instance['bbox_label'] for instance in info['instances']]
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )


def _draw(
    image: np.ndarray,
    instances: InstanceData,
    meta: Mapping[str, Any],
    score_thr: float | None = None,
) -> np.ndarray:
    """The image with its boxes, ``score_thr`` being None for the ground truth."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    image = mmcv.imrescale(image, scale)
    if score_thr is not None:
        instances = instances[instances.scores >= score_thr]
    limit = torch.tensor([width, height, width, height]) * scale - 1
    instances.bboxes = (instances.bboxes * scale).clamp(min=0).minimum(limit)
    sample = DetDataSample(gt_instances=instances, pred_instances=instances)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = meta
    truth = score_thr is None
    visualizer.add_datasample(
        '', image, sample, draw_gt=truth, draw_pred=not truth, pred_score_thr=score_thr or 0
    )
    return visualizer.get_image()
