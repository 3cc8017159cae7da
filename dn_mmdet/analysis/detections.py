"""Detections of several models beside the ground truth, drawn by mmdet's visualizer."""

from contextlib import redirect_stdout
from io import StringIO
from itertools import cycle, islice
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.fileio import load
from mmengine.structures import InstanceData

from ..engine.atomic import atomic_write

__all__ = ['draw_detections']

# All images are brought to one size, at which the labels of the boxes can be read.
SIDE = 360
# Boxes stand out on dark and light images alike; further classes begin anew.
PALETTE = ((230, 25, 75), (60, 180, 75), (255, 225, 25), (67, 140, 255), (245, 130, 48),
           (200, 80, 255), (70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212))


def draw_detections(dataset_cfg, results, file, num_images=4, score_thr=0.3):
    """Draw one row for each image: the ground truth, then what each model found.

    The images are taken evenly from the data set, among those that show anything.

    Args:
        dataset_cfg (dict): config of the test data set.
        results (dict[str, str | Path]): label to the file that ``tools/test.py --out`` wrote.
        file (str | Path): where the picture goes.
        num_images (int): number of rows. Default: 4.
        score_thr (float): detections below this score are not drawn. Default: 0.3, as in
            mmdet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with redirect_stdout(StringIO()):  # pycocotools tells that it loads
        dataset = DATASETS.build(dataset_cfg)
    classes = dataset.metainfo['classes']
    meta = dict(classes=classes, palette=list(islice(cycle(PALETTE), len(classes))))
    shown = [i for i in range(len(dataset)) if dataset.get_data_info(i)['instances']]
    shown = [shown[i] for i in np.linspace(0, len(shown) - 1, num_images).astype(int)]
    found = {
        label: {sample['img_id']: sample['pred_instances'] for sample in load(path)}
        for label, path in results.items()
    }
    columns = ['ground truth', *(f'{label}, score >= {score_thr}' for label in results)]
    figure = Figure(
        figsize=(3 * len(columns), 3 * len(shown)), dpi=100, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(shown), len(columns), squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=10)

    for row, index in zip(axes, shown, strict=True):
        info = dataset.get_data_info(index)
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        pictures = [_draw(image, _ground_truth(info), meta)]
        pictures += [
            _draw(image, InstanceData(**by_id[info['img_id']]), meta, score_thr)
            for by_id in found.values()
        ]
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture)
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])


def _ground_truth(info):
    boxes = [instance['bbox'] for instance in info['instances']]
    labels = [instance['bbox_label'] for instance in info['instances']]
    return InstanceData(bboxes=torch.tensor(boxes), labels=torch.tensor(labels))


def _draw(image, instances, meta, score_thr=None):
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
        '', image, sample, draw_gt=truth, draw_pred=not truth, pred_score_thr=score_thr or 0)
    return visualizer.get_image()
