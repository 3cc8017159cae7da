"""The SSDLite head: SSD's (Liu et al., 2016) with depthwise convolutions, paper Sec. 4.3."""

from typing import Any

from mmdet.models.dense_heads import SSDHead
from mmengine.registry import MODELS

__all__ = ['SSDLiteHead']


@MODELS.register_module()
class SSDLiteHead(SSDHead):
    """mmdet's SSD head with depthwise towers, which also evaluates.

    mmdet 3.3.0's ``SSDHead`` cannot predict: the base class asks ``self.loss_cls`` whether the
    classification loss brings its own channels, and SSD, which calls cross-entropy directly, has
    no such module (mmdet issues 11063 and 11780). The attribute stands here as None, so that the
    scores are a softmax over the classes and the background.

    Per level: depthwise 3x3, norm, activation, then a 1x1 convolution to
    ``anchors * (num_classes + 1)`` scores, and the same to ``anchors * 4`` box deltas.

    Args:
        use_depthwise (bool): Depthwise towers. Defaults to True.
        norm_cfg (dict): Norm of the towers. Defaults to ``dict(type='BN')``.
        act_cfg (dict): Activation of the towers. Defaults to ``dict(type='ReLU6')``.
        *args: Those of :class:`mmdet.models.SSDHead`.
        **kwargs: Those of :class:`mmdet.models.SSDHead`.

    Shape:
        - Input: one (N, C_l, H_l, W_l) map for each level.
        - Output: two lists, (N, A_l * (num_classes + 1), H_l, W_l) and (N, A_l * 4, H_l, W_l).
    """

    loss_cls = None

    def __init__(
        self,
        *args: Any,
        use_depthwise: bool = True,
        norm_cfg: dict = dict(type='BN'),  # noqa: B006 - mmdet's convention, never written to
        act_cfg: dict = dict(type='ReLU6'),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        super().__init__(
            *args, use_depthwise=use_depthwise, norm_cfg=norm_cfg, act_cfg=act_cfg, **kwargs
        )
