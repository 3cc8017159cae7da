"""Top-k accuracy that counts every image exactly once."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torch import Tensor

from ..utils.python39 import zip_strict

__all__ = ['TopKAccuracy', 'rank_of_class']


@METRICS.register_module()
class TopKAccuracy(BaseMetric):
    """Share of images, in percent, whose class is among the k highest scores.

    In a distributed run the sampler repeats images until the ranks' shares are even;
    :class:`mmengine.evaluator.BaseMetric` gathers the results in order and cuts these off.

    Args:
        topk (Sequence[int]): The values of k; each is reported as ``accuracy/top{k}``.
            Defaults to (1, 5).
        classes (Sequence[str]): Names of classes whose own top-1 accuracy is reported too, as
            ``accuracy/top1_{name}``. One that no image is of is left out, with a warning.
            Defaults to ().
        **kwargs: ``collect_device`` and ``prefix`` of ``BaseMetric``.

    Raises:
        ValueError: A k below 1, or above the number of classes.
    """

    default_prefix = 'accuracy'

    def __init__(
        self, topk: Sequence[int] = (1, 5), classes: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if min(topk) < 1:
            raise ValueError(f'topk must be 1 or more, but got {tuple(topk)}')
        self.topk = tuple(topk)
        self.classes = tuple(classes)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's class and the place of that class among the scores."""
        scores = torch.stack([sample['pred_score'] for sample in data_samples])
        labels = torch.tensor([int(sample['gt_label']) for sample in data_samples])
        if max(self.topk) > scores.shape[1]:
            raise ValueError(
                f'topk={self.topk} asks for more classes than the {scores.shape[1]} of the model'
            )
        ranks = rank_of_class(scores, labels.to(scores.device))
        self.results += zip_strict(labels.tolist(), ranks.tolist())

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """Mean over the images, in percent."""
        metrics = {f'top{k}': _percent([rank < k for _, rank in results]) for k in self.topk}
        names = list((self.dataset_meta or {}).get('classes', ()))
        for name in self.classes:
            ranks = [rank for label, rank in results if names[label : label + 1] == [name]]
            if ranks:
                metrics[f'top1_{name}'] = _percent([rank < 1 for rank in ranks])
            else:
                print_log(
                    f'no image belongs to class {name!r}, so its accuracy cannot be reported',
                    'current',
                    logging.WARNING,
                )
        return metrics


def _percent(hits: Sequence[bool]) -> float:
    return 100 * sum(hits) / len(hits)


def rank_of_class(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes stand before the right one, image by image.

    Equal scores stand in the order of the classes, so a network that says the same of every
    class is right by chance alone. Where a score is NaN the right class stands last: a network
    that has diverged is never right.

    Args:
        scores (Tensor): (N, C), the higher the likelier.
        labels (Tensor): (N,), int64.

    Returns:
        Tensor: (N,), int64, 0 for the first place; C where a score is NaN.
    """
    own = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    before = (scores > own) | ((scores == own) & earlier)
    return before.sum(dim=1).masked_fill(scores.isnan().any(dim=1), scores.shape[1])
