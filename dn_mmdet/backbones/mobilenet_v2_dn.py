"""MobileNetV2 for dynamic norms: paper Sec. 4.1 (classification) and 4.3 (SSDLite's backbone)."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.utils.checkpoint as cp
from mmdet.models.backbones import MobileNetV2
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..ops import recompute_outputs
from .fold_activation import fold_activations

__all__ = ['MobileNetV2DN']


# The root registry: mmdet's and mmpretrain's registries fall back to it, so that one name serves
# the detector and the classifier that pretrains its backbone.
@MODELS.register_module()
class MobileNetV2DN(MobileNetV2):
    """mmdet's MobileNetV2 with any norm layer, and with SSDLite's expansion feature.

    It differs from :class:`mmdet.models.MobileNetV2` in five things: a stage may hand out the
    expansion of its first block, ``frozen_stages`` puts the stem in evaluation too, strides and
    depths of the stages may be chosen, DN-B does the activation behind it, and bad arguments raise
    errors that name them.

    Args:
        widen_factor (float): Multiplies every width; the last convolution keeps 1280 channels
            below 1.0. Defaults to 1.0.
        out_indices (Sequence[int]): Stages whose output is returned, 0 to 6 for the seven stages
            of inverted residuals and 7 for the last convolution. Defaults to (1, 2, 4, 7).
        expansion_indices (Sequence[int]): Those of ``out_indices``, 1 to 6, that return the
            *expansion* of the stage's first block (its 1x1 convolution, norm and activation)
            in place of the stage's output: for 5 at width 1.0, 576 channels at stride 16.
            Defaults to ().
        strides (Sequence[int]): Stride, 1 or 2, of each stage's first block, behind the stem's of
            2; smaller ones serve small images. Defaults to (1, 2, 2, 2, 1, 2, 1).
        num_blocks (Sequence[int]): Blocks of each stage. Defaults to (1, 2, 3, 4, 3, 3, 1).
        frozen_stages (int): The stem and the stages up to this one are frozen: no gradient, and
            running statistics that stand still; 0 freezes the stem alone, -1 nothing.
            Defaults to -1.
        norm_cfg (dict): The norm layer: ``dict(type='BN')``, ``dict(type='DNB', r=16, g='oup')``
            or any other that mmcv can build. Defaults to ``dict(type='BN')``.
        norm_eval (bool): All running statistics stand still in training. Defaults to False.
        fold_activation (bool | str): DN-B layers apply the ReLU6 behind them, which saves a pass;
            'recompute' also keeps none of their outputs for the backward, which saves about half
            of the memory and costs a pass. Other norms are not concerned. Defaults to True.
        **kwargs: ``conv_cfg``, ``act_cfg``, ``with_cp``, ``pretrained`` and ``init_cfg`` of
            :class:`mmdet.models.MobileNetV2`.

    Shape:
        - Input: (N, 3, H, W), normalized pixels, floating point.
        - Output: tuple of (N, C_i, H_i, W_i), one for each of ``out_indices``, in stage order.

    Raises:
        ValueError: ``widen_factor``, ``out_indices``, ``expansion_indices``, ``strides``,
            ``num_blocks``, ``frozen_stages`` or ``fold_activation`` out of range.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        out_indices: Sequence[int] = (1, 2, 4, 7),
        expansion_indices: Sequence[int] = (),
        strides: Sequence[int] = (1, 2, 2, 2, 1, 2, 1),
        num_blocks: Sequence[int] = (1, 2, 3, 4, 3, 3, 1),
        frozen_stages: int = -1,
        norm_cfg: dict = dict(type='BN'),  # noqa: B006 - mmdet's convention, never written to
        norm_eval: bool = False,
        fold_activation: bool | str = True,
        **kwargs: Any,
    ) -> None:
        if widen_factor <= 0:
            raise ValueError(f'widen_factor must be above 0, but got {widen_factor}')
        bad = set(expansion_indices) - (set(out_indices) & set(range(1, 7)))
        if bad:
            raise ValueError(
                'expansion_indices must be a subset of out_indices and of 1 to 6 (stage 0 has no '
                f'expansion and 7 is a single convolution), but got {tuple(expansion_indices)} '
                f'with out_indices={tuple(out_indices)}'
            )
        for name, values, good in (
            ('strides', strides, (1, 2)),
            ('num_blocks', num_blocks, range(1, 100)),
        ):
            if len(values) != 7 or not set(values) <= set(good):
                raise ValueError(
                    f'{name} must be 7 numbers, each {good[0]} '
                    f'{"or 2" if name == "strides" else "or more"}, one for each '
                    f'stage, but got {tuple(values)}'
                )
        if fold_activation not in (True, False, 'recompute'):
            raise ValueError(
                f"fold_activation must be True, False or 'recompute', but got {fold_activation!r}"
            )
        # What the inherited constructor builds: expansion, channels, blocks, stride of a stage.
        self.arch_settings = [
            [expansion, channels, blocks, stride]
            for (expansion, channels, _, _), blocks, stride in zip(
                MobileNetV2.arch_settings, num_blocks, strides, strict=True
            )
        ]
        super().__init__(
            widen_factor=widen_factor,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            **kwargs,
        )
        self.expansion_indices = tuple(expansion_indices)
        self.fold_activation = fold_activation
        if fold_activation:
            fold_activations(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features of ``out_indices`` as a tuple."""
        # With checkpoints nothing of a block is kept anyway.
        recompute = (
            self.fold_activation == 'recompute'
            and not self.with_cp
            and torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
        )
        with recompute_outputs() if recompute else nullcontext():
            return self._forward(x)

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.conv1(x)
        outs = []
        for i, name in enumerate(self.layers):
            stage = getattr(self, name)
            if i in self.expansion_indices:
                expansion, x = _forward_with_expansion(stage, x)
                outs.append(expansion)
            else:
                x = stage(x)
                if i in self.out_indices:
                    outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'MobileNetV2DN':
        """Set the mode, keep what is frozen in evaluation, and return the module."""
        super().train(mode)
        return self  # mmdet's returns None, and so would eval()

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        # mmdet takes the stem's gradients away but leaves its running statistics moving.
        if self.frozen_stages >= 0:
            self.conv1.eval()


def _forward_with_expansion(stage: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run a stage; return its first block's expansion and its output."""
    block = stage[0]
    expansion = block.expand_conv(x)

    def project(expansion: Tensor) -> Tensor:
        return block.linear_conv(block.depthwise_conv(expansion))

    if block.with_cp and expansion.requires_grad:
        out = cp.checkpoint(project, expansion, use_reentrant=False)
    else:
        out = project(expansion)
    if block.with_res_shortcut:
        out = x + block.drop_path(out)
    return expansion, stage[1:](out)
