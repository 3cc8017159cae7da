"""The classifier of the paper's Sec. 4.1: a backbone, global average pooling, one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..utils.python39 import zip_strict
from .accuracy import rank_of_class

__all__ = ['ImageClassifier']


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone's last feature, pooled, and a linear layer to the class scores.

    The backbone lies under ``backbone.`` in the state dict, so a detector takes it over with
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.

    Args:
        backbone (dict): Config of a registered backbone that returns a tuple of features; the
            last one is pooled.
        num_classes (int): Number of classes, at least 2.
        in_channels (int): Channels of the backbone's last feature.
        label_smoothing (float): Share of the target that is spread over all classes, in [0, 1).
            Defaults to 0.0.
        topk (Sequence[int]): The values of k whose share of right training images, in percent,
            is logged as ``accuracy_top{k}`` next to the loss. Defaults to (1,).
        data_preprocessor (dict, optional): Defaults to none but moving to the device; configs use
            ``ImgDataPreprocessor``, which normalizes the pixels.
        init_cfg (dict | list[dict], optional): See :class:`mmengine.model.BaseModule`.

    Raises:
        ValueError: ``num_classes``, ``label_smoothing`` or ``topk`` out of range.
    """

    def __init__(
        self,
        backbone: dict,
        num_classes: int,
        in_channels: int,
        label_smoothing: float = 0.0,
        topk: Sequence[int] = (1,),
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if num_classes < 2:
            raise ValueError(f'num_classes must be 2 or more, but got {num_classes}')
        if not 0 <= label_smoothing < 1:
            raise ValueError(f'label_smoothing must be in [0, 1), but got {label_smoothing}')
        if not all(1 <= k <= num_classes for k in topk):
            raise ValueError(
                f'topk must lie between 1 and the {num_classes} classes, but got {tuple(topk)}'
            )
        self.backbone = MODELS.build(backbone)
        self.fc = nn.Linear(in_channels, num_classes)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.topk = tuple(topk)

    def init_weights(self) -> None:
        """Initialize the backbone by its own ``init_cfg`` and the linear layer with std 0.01."""
        super().init_weights()
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Run the classifier.

        Args:
            inputs (Tensor): (N, 3, H, W), normalized pixels.
            data_samples (list[BaseDataElement], optional): One for each image, with the integer
                ``gt_label`` where ``mode`` is 'loss'.
            mode (str): 'tensor' returns the scores (N, num_classes), 'loss' a dict of ``loss``
                and the batch's ``accuracy_top{k}``, of this process alone in a distributed run,
                'predict' the data samples with ``pred_score`` (num_classes,), which sums to 1.

        Raises:
            ValueError: Another ``mode``.
        """
        scores = self.fc(self.backbone(inputs)[-1].mean(dim=(2, 3)))
        if mode == 'tensor':
            return scores
        if mode == 'loss':
            target = torch.tensor([s.gt_label for s in data_samples], device=scores.device)
            rank = rank_of_class(scores.detach(), target)
            # mmengine logs every entry and adds those with 'loss' in the key up to the objective.
            return dict(
                loss=F.cross_entropy(scores, target, label_smoothing=self.label_smoothing),
                **{f'accuracy_top{k}': 100 * (rank < k).float().mean() for k in self.topk},
            )
        if mode == 'predict':
            for sample, score in zip_strict(data_samples, scores.float().softmax(dim=1)):
                sample.pred_score = score
            return data_samples
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', but got {mode!r}")
