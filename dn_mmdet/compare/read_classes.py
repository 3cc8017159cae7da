"""Classes of a prediction file, judged by those of the data set."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..classification.accuracy import rank_of_class
from ..engine.errors import UserError
from .image_results import ClassResults

__all__ = ['read_classes', 'top_k']


def read_classes(file: Path, predictions: Sequence[Mapping], dataset: Any, k: int) -> ClassResults:
    """Compare predicted classes with those of the data set.

    Args:
        file (Path): where the predictions are from, for messages.
        predictions (Sequence[Mapping]): one for each image.
        dataset (Any): that was predicted.
        k (int): an image is right where its class is among the k first.

    Raises:
        UserError: the predictions are of other images or classes.
    """
    classes = dataset.metainfo['classes']
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    paths, labels = [info['img_path'] for info in infos], [info['gt_label'] for info in infos]
    by_path = {str(item.get('img_path')): item for item in predictions}
    if len(by_path) != len(predictions) or by_path.keys() != set(paths):
        foreign = sorted(by_path.keys() ^ set(paths))
        why = f'{foreign[0]} is in one of both alone' if foreign else 'some are there twice'
        raise UserError(f'{file} is of other images than the val data: {why}.')
    ordered = [by_path[path] for path in paths]
    scores = [item.get('pred_score') for item in ordered]
    if not all(
        isinstance(score, torch.Tensor) and score.shape == (len(classes),) for score in scores
    ):
        raise UserError(
            f'{file} is of other classes: an image has no pred_score for each of the '
            f'{len(classes)}.'
        )
    if [item.get('gt_label') for item in ordered] != labels:
        raise UserError(f'{file} is of other classes: its gt_label are not those of the val data.')
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
    """The k of 'accuracy/top5'; None for what is no such accuracy."""
    found = re.fullmatch(r'accuracy/top(\d+)', metric)
    return None if found is None else int(found[1])
