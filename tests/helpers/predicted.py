"""Runs with predictions: what tools/test.py --out leaves beside a log, small."""

import json
from pathlib import Path

import numpy as np
import torch
from mmengine.fileio import dump
from PIL import Image

from dn_mmdet.compare.images.matches import match_detections
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.work_folders import BN, DNB, start_of

BOX = [10.0, 10.0, 40.0, 30.0]  # x, y, x, y of the only object of every image
CLASSES = ('zero', 'one')


def make_data(root, images):
    """A COCO data set: an object in each image, of the first class in the even ones."""
    (root / 'annotations').mkdir(parents=True)
    for i in range(1, images + 1):
        Image.new('RGB', (60, 40), (20 * i % 256, 90, 90)).save(root / f'{i}.png')
    (root / 'annotations/instances_val2017.json').write_text(
        json.dumps(
            dict(
                images=[
                    dict(id=i, file_name=f'{i}.png', width=60, height=40)
                    for i in range(1, images + 1)
                ],
                categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)],
                annotations=[
                    dict(
                        id=i,
                        image_id=i,
                        category_id=1 + i % 2,
                        bbox=[10, 10, 30, 20],
                        area=600,
                        iscrowd=0,
                    )
                    for i in range(1, images + 1)
                ],
            )
        )
    )
    return f'{root}/'


def predictions_of(right, root, score=0.8):
    """The object of an image is found exactly where ``right`` says so, else a wrong box."""
    found = []
    for i, hit in enumerate(right, 1):
        found.append(
            dict(
                img_id=i,
                img_path=f'{root}{i}.png',
                pred_instances=dict(
                    bboxes=torch.tensor([BOX if hit else [0.0, 0.0, 5.0, 5.0]]),
                    labels=torch.tensor([i % 2]),
                    scores=torch.tensor([score - i / 1000]),
                ),
            )
        )
    return found


def precision_of(predictions, root):
    """mAP of predictions, rounded as CocoMetric rounds it."""
    from pycocotools.coco import COCO

    detections = [
        dict(
            image_id=item['img_id'],
            category_id=1 + int(boxes['labels'][0]),
            score=float(boxes['scores'][0]),
            bbox=[
                *boxes['bboxes'][0, :2].tolist(),
                *(boxes['bboxes'][0, 2:] - boxes['bboxes'][0, :2]).tolist(),
            ],
        )
        for item in predictions
        for boxes in [item['pred_instances']]
    ]
    coco = COCO(f'{root}annotations/instances_val2017.json')
    return round(match_detections(coco, detections, {1: 'zero', 2: 'one'}).average_precision(), 3)


def detectors(folder, hits, images):
    """Work folders of BN and DN-B with predictions.

    Args:
        folder (Path): of all.
        hits (dict[tuple[str, int], Sequence[int]]): norm and seed to the images that are right.
        images (int): in all.
    """
    root = make_data(folder / 'data', images)
    folders = []
    for (norm, seed), right in hits.items():
        predictions = predictions_of([i in right for i in range(1, images + 1)], root)
        name = folder / f'{norm}_seed{seed}'
        folders.append(
            start_of(
                name,
                [0.01, 0.02, precision_of(predictions, root)],
                seed=seed,
                data_root=root,
                norm=dict(bn=BN, dnb=DNB)[norm],
            )
        )
        _edit(name, "type='CocoDataset'", "data_prefix=dict(img=''), type='CocoDataset'")
        dump(predictions, name / 'predictions.pkl')
    return folders


def classifiers(folder, predicted, labels):
    """Work folders of BN and DN-B classifiers of an image folder, with predictions.

    Args:
        folder (Path): of all.
        predicted (dict[tuple[str, int], Sequence[int]]): norm and seed to a class for each image.
        labels (Sequence[int]): the right ones, in ascending order.
    """
    root = folder / 'data'
    paths = []
    for i, label in enumerate(labels):
        path = root / CLASSES[1 - label] / f'{i:02}.png'  # 'one' comes before 'zero'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (32, 32), (200, 5 * i, 40)).save(path)
        paths.append(str(path))
    folders = []
    for (norm, seed), found in predicted.items():
        right = [a == b for a, b in zip_strict(found, labels)]
        name = folder / f'{norm}_seed{seed}'
        folders.append(
            start_of(
                name,
                [0.1, 0.2, 0.3],
                seed=seed,
                data_root=f'{root}/',
                norm=dict(bn=BN, dnb=DNB)[norm],
                extra={'accuracy/top1': 100 * float(np.mean(right))},
            )
        )
        _edit(name, "ann_file='annotations/instances_val2017.json',\n        data", 'data')
        _edit(
            name,
            "metainfo=dict(classes=(\n            'zero',\n            'one',\n        )),",
            '',
        )
        _edit(name, "'CocoDataset'", "'ImageFolder'")
        _edit(name, "default_scope = 'mmdet'", "default_scope = 'mmengine'")
        for file in name.rglob('scalars.json'):
            file.write_text(file.read_text().replace('coco/bbox_', 'other/'))
        dump(
            [
                dict(img_path=path, gt_label=label, pred_score=torch.eye(2)[one] * 0.6 + 0.2)
                for path, label, one in zip_strict(paths, labels, found)
            ],
            Path(name, 'predictions.pkl'),
        )
    return folders


def _edit(folder, old, new):
    """Change a run's configuration."""
    for file in folder.rglob('config.py'):
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
