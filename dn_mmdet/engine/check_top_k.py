"""Checking that no top-k accuracy asks for more classes than the model has."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from .check_evaluator import each_metric
from .errors import UserError

__all__ = ['check_top_k']


def check_top_k(evaluator: Any, key: str, model: nn.Module) -> None:
    """Check ``topk`` of every TopKAccuracy, which would only be seen after the first epoch.

    Args:
        evaluator (Mapping | Sequence): ``val_evaluator`` or ``test_evaluator``.
        key (str): Its key, for messages.
        model (nn.Module): Has ``num_classes`` where it is a classifier.

    Raises:
        UserError: A k is below 1 or above the number of classes.
    """
    classes = getattr(model, 'num_classes', None)
    for at, metric, cls in each_metric(evaluator, key):
        if getattr(cls, '__name__', '') != 'TopKAccuracy' or not isinstance(classes, int):
            continue
        values = metric.get('topk', (1, 5))
        values = tuple(values) if isinstance(values, Sequence) else (values,)
        if not all(1 <= k <= classes for k in values):
            raise UserError(
                f'{at}.topk is {values} and the model has {classes} classes: each must lie '
                f'between 1 and {classes}, as with --cfg-options {at}.topk="[1]".'
            )
