"""What an exported graph computes: the model with tensors alone, from pixels to results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.ops import nms
from mmdet.models import BaseDetector, SingleStageDetector
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.structures import DetDataSample
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from ..classification import ImageClassifier
from ..utils.errors import UserError
from ..utils.python39 import zip_strict

__all__ = ['BackboneGraph', 'ClassifierGraph', 'DetectorGraph', 'make_graph']

# What mmdet computes for one image is what DetectorGraph computes for a batch.
FOLLOWED = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')


class BackboneGraph(nn.Module):
    """The features of a backbone, ``feature_0`` and so on.

    Args:
        model (nn.Module): Detector or classifier with a ``backbone``, or the backbone itself.
    """

    task = 'features'

    def __init__(self, model: nn.Module):
        super().__init__()
        self.backbone = getattr(model, 'backbone', model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of normalized images (N, C, H, W)."""
        return tuple(self.backbone(images))

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """What the model computes by itself."""
        return self(images)

    def names(self, outputs: Sequence[Tensor]) -> list[str]:
        """Names of the outputs."""
        return [f'feature_{i}' for i in range(len(outputs))]


class ClassifierGraph(nn.Module):
    """The probabilities of the classes, (N, num_classes).

    Args:
        model (ImageClassifier): In evaluation.
    """

    task = 'classification'

    def __init__(self, model: ImageClassifier):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Probabilities for normalized images (N, C, H, W)."""
        return (self.model(images).softmax(1),)

    def expected(self, images: Tensor) -> tuple[Tensor]:
        """What the model computes by itself."""
        samples = self.model(images, [BaseDataElement() for _ in images], mode='predict')
        return (torch.stack([sample.pred_score for sample in samples]),)

    def names(self, outputs: Sequence[Tensor]) -> list[str]:
        """Names of the outputs."""
        return ['scores']


class DetectorGraph(nn.Module):
    """Boxes behind NMS of a single-stage detector with anchors, for a batch of images of one size.

    What :meth:`BaseDenseHead.predict_by_feat` computes for one image. The outputs are ``dets``
    (N, K, 5), boxes as x1, y1, x2, y2 in pixels of the input and their score, best first, and
    ``labels`` (N, K), int64. K is ``max_per_img``; places without a box have score 0 and label -1.

    Args:
        model (BaseDetector): In evaluation.
        images (Tensor): An example (N, C, H, W), which decides on the size.

    Raises:
        UserError: The detector computes something else, or has another NMS.
    """

    task = 'detection'

    def __init__(self, model: BaseDetector, images: Tensor):
        super().__init__()
        _check_detector(model)
        self.model = model
        height, width = images.shape[2:]
        limit = torch.tensor([width, height, width, height], dtype=images.dtype)
        self.register_buffer('limit', limit, persistent=False)
        head = model.bbox_head
        with torch.no_grad():
            scores, _ = model(images)
        levels = head.prior_generator.grid_priors(
            [level.shape[2:] for level in scores], device=images.device
        )
        self.num_levels = len(levels)
        for i, priors in enumerate(levels):
            self.register_buffer(f'priors_{i}', priors, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Detections in normalized images (N, C, H, W)."""
        cfg = self.model.test_cfg
        levels = [self._level(i, *maps) for i, maps in enumerate(zip_strict(*self.model(images)))]
        scores, labels, boxes = (torch.cat(parts, 1) for parts in zip_strict(*levels))
        if cfg.get('min_bbox_size', -1) >= 0:
            sides = boxes[..., 2:] - boxes[..., :2]
            scores = scores * (sides > cfg.min_bbox_size).all(-1)
        separate = boxes
        if not cfg.nms.get('class_agnostic', False):
            # Boxes of different classes never meet, as in mmcv's batched_nms.
            separate = boxes + labels[..., None] * (boxes.amax((1, 2), keepdim=True) + 1)
        count = min(cfg.max_per_img, int(scores.shape[1]))
        kept = _KeptByNMS.apply(
            separate, scores, cfg.nms.iou_threshold, cfg.get('score_thr', 0), count
        )
        scores, order = (scores * kept).topk(count)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        labels = labels.gather(1, order).where(scores > 0, -1)
        return torch.cat((boxes, scores[..., None]), -1), labels

    def expected(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the model computes by itself, with mmdet's post-processing."""
        samples = [DetDataSample(metainfo=dict(img_shape=images.shape[2:])) for _ in images]
        found = self.model.predict(images, samples, rescale=False)
        count = self.model.test_cfg.max_per_img
        dets, labels = images.new_zeros(len(images), count, 5), torch.full((len(images), count), -1)
        for i, sample in enumerate(found):
            some = sample.pred_instances
            dets[i, : len(some)] = torch.cat((some.bboxes, some.scores[:, None]), 1)
            labels[i, : len(some)] = some.labels
        return dets, labels

    def names(self, outputs: Sequence[Tensor]) -> list[str]:
        """Names of the outputs."""
        return ['dets', 'labels']

    def _level(self, i: int, scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score, label and box of the best pairs of an anchor and a class."""
        head = self.model.bbox_head
        n, classes = scores.shape[0], head.cls_out_channels  # A tracer would keep len().
        scores = scores.permute(0, 2, 3, 1).reshape(n, -1, classes)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
        classes = int(scores.shape[2])
        scores = scores.flatten(1)
        pairs, limit = int(scores.shape[1]), self.model.test_cfg.get('nms_pre', -1)
        scores, order = scores.topk(min(limit, pairs) if limit > 0 else pairs)
        anchors = (order.div(classes, rounding_mode='floor'))[..., None].expand(-1, -1, 4)
        deltas = deltas.permute(0, 2, 3, 1).reshape(n, -1, 4).gather(1, anchors)
        priors = self.get_buffer(f'priors_{i}').expand(n, -1, -1).gather(1, anchors)
        boxes = head.bbox_coder.decode(priors.reshape(-1, 4), deltas.reshape(-1, 4))
        if getattr(head.bbox_coder, 'clip_border', True):
            # Not by the coder, which writes into slices.
            boxes = torch.minimum(boxes.clamp(min=0), self.limit)
        return scores, order % classes, boxes.reshape(n, -1, 4)


def make_graph(model: nn.Module, images: Tensor, part: str = 'model') -> nn.Module:
    """The graph of a model, or of its backbone.

    Args:
        model (nn.Module): In evaluation.
        images (Tensor): An example (N, C, H, W).
        part (str): 'model' or 'backbone'. Defaults to 'model'.

    Raises:
        UserError: The model is none that can be exported.
    """
    if part == 'backbone':
        return BackboneGraph(model).eval()
    if isinstance(model, ImageClassifier):
        return ClassifierGraph(model).eval()
    if isinstance(model, BaseDetector):
        return DetectorGraph(model, images).eval()
    raise UserError(
        f'{type(model).__name__} cannot be exported: it is neither a detector of mmdet nor an '
        'ImageClassifier; --part backbone exports its backbone.'
    )


def _check_detector(model: BaseDetector) -> None:
    head = getattr(model, 'bbox_head', None)
    if type(model).predict is not SingleStageDetector.predict or not (
        isinstance(head, AnchorHead)
        and all(getattr(type(head), name) is getattr(BaseDenseHead, name) for name in FOLLOWED)
    ):
        raise UserError(
            f'{type(model).__name__} with {type(head).__name__} cannot be exported as a whole, '
            'since it does not go from anchors to boxes as SSD and RetinaNet do: --part backbone '
            'exports its backbone.'
        )
    nms_cfg = (model.test_cfg or {}).get('nms') or {}
    kind, unknown = nms_cfg.get('type', 'nms'), set(nms_cfg) - {
        'type', 'iou_threshold', 'class_agnostic', 'split_thr',
    }  # fmt: skip
    if kind != 'nms' or unknown or 'iou_threshold' not in nms_cfg:
        raise UserError(
            f'model.test_cfg.nms is {dict(nms_cfg)!r}, which ONNX has no operator for: set '
            "nms=dict(type='nms', iou_threshold=...)."
        )


class _KeptByNMS(torch.autograd.Function):
    """Which boxes of each image remain, as 0 and 1 of shape (N, K); in ONNX one operator does it.

    Boxes are (N, K, 4), scores (N, K). At most ``count`` boxes of an image remain, none of which
    has a score of ``threshold`` or less.
    """

    @staticmethod
    def forward(
        ctx: object, boxes: Tensor, scores: Tensor, iou: float, threshold: float, count: int
    ) -> Tensor:
        kept = torch.zeros_like(scores)
        for i, (some, score) in enumerate(zip_strict(boxes, scores)):
            valid = (score > threshold).nonzero()[:, 0]
            if len(valid):
                _, places = nms(some[valid], score[valid], iou)
                kept[i, valid[places[:count]]] = 1
        return kept

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, iou: float, threshold: float, count: int) -> Any:
        def constant(value: Any, dtype: torch.dtype) -> Any:
            return g.op('Constant', value_t=torch.tensor(value, dtype=dtype))

        first = constant([1], torch.int64)
        chosen = g.op(
            'NonMaxSuppression',
            boxes,
            g.op('Unsqueeze', scores, first),
            constant([count], torch.int64),
            constant([iou], torch.float32),
            constant([threshold], torch.float32),
        )
        # Image, class (there is one) and box of each.
        places = g.op('Gather', chosen, constant([0, 2], torch.int64), axis_i=1)
        one = constant([1.0], torch.float32)
        found = g.op('Gather', g.op('Shape', chosen), constant([0], torch.int64), axis_i=0)
        kept = g.op('ScatterND', g.op('Sub', scores, scores), places, g.op('Expand', one, found))
        return kept.setType(scores.type())
