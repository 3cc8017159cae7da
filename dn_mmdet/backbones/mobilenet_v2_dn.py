"""MobileNetV2 for dynamic norms: paper Sec. 4.1 (classification) and 4.3 (SSDLite's backbone)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.utils.checkpoint as cp
from mmcv.cnn import ConvModule
from mmdet.models.backbones import MobileNetV2
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers.fold_activation import fold_activations
from ..utils.python39 import zip_strict
from ..weights.translate import places
from .arguments import (
    check_expansion_indices,
    check_fold_activation,
    check_int,
    check_numbers,
    check_out_indices,
    check_positive,
)
from .recompute import recompute_as_asked

__all__ = ['MobileNetV2DN']

STAGES = 8


# The root registry: mmdet's and mmpretrain's registries fall back to it, so that one name serves
# the detector and the classifier that pretrains its backbone.
@MODELS.register_module()
class MobileNetV2DN(MobileNetV2):
    """mmdet's MobileNetV2 with any norm layer, and with SSDLite's expansion feature.

    There are a stem and eight stages, counted from 0: stages 0 to 6 are the inverted residuals
    (``layer1`` to ``layer7``), stage 7 is the last convolution (``conv2``).

    It differs from :class:`mmdet.models.MobileNetV2` in these things: a stage may hand out the
    expansion of its first block, ``frozen_stages`` puts the stem in evaluation too, reaches the
    last convolution and holds from the start, what lies behind the last output is not run, the
    image may have other channels than 3, strides and depths of the stages may be chosen, DN-B does
    the activation behind it, weights with mmpretrain's names of the blocks load too, and bad
    arguments raise errors that name them.

    Args:
        widen_factor (float): Multiplies every width; the last convolution keeps 1280 channels
            below 1.0. Defaults to 1.0.
        out_indices (Sequence[int]): Stages whose output is returned, 0 to 7. What lies behind the
            last of them is neither run nor trained, but stays in the state dict, so that the same
            checkpoints fit. Defaults to (1, 2, 4, 7).
        expansion_indices (Sequence[int]): Those of ``out_indices``, 1 to 6, that return the
            *expansion* of the stage's first block (its 1x1 convolution, norm and activation)
            in place of the stage's output: for 5 at width 1.0, 576 channels at stride 16.
            Defaults to ().
        strides (Sequence[int]): Stride, 1 or 2, of each of stages 0 to 6, in its first block,
            behind the stem's of 2; smaller ones serve small images.
            Defaults to (1, 2, 2, 2, 1, 2, 1).
        num_blocks (Sequence[int]): Blocks of each of stages 0 to 6.
            Defaults to (1, 2, 3, 4, 3, 3, 1).
        frozen_stages (int): The stem and this many stages, the first ones, are frozen: no
            gradient, and running statistics that stand still. 0 freezes the stem alone, 3 also
            stages 0, 1 and 2, 8 everything, -1 nothing. Defaults to -1.
        norm_cfg (dict): The norm layer: ``dict(type='BN')``, ``dict(type='DNB', r=16, g='oup')``
            or any other that mmcv can build. Defaults to ``dict(type='BN')``.
        norm_eval (bool): All running statistics stand still in training. Defaults to False.
        fold_activation (bool | str): DN-B layers apply the ReLU6 behind them, which saves a pass;
            'recompute' also keeps none of their outputs for the backward, which saves about half
            of the memory and costs a pass. Other norms are not concerned. Defaults to True.
        in_channels (int): Channels of the image. Defaults to 3.
        **kwargs: ``conv_cfg``, ``act_cfg``, ``with_cp``, ``pretrained`` and ``init_cfg`` of
            :class:`mmdet.models.MobileNetV2`.

    Shape:
        - Input: (N, in_channels, H, W), normalized pixels, floating point.
        - Output: tuple of (N, C_i, H_i, W_i), one for each of ``out_indices``, in stage order.

    Raises:
        ValueError: ``widen_factor``, ``out_indices``, ``expansion_indices``, ``strides``,
            ``num_blocks``, ``frozen_stages``, ``fold_activation`` or ``in_channels`` out of range.
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
        in_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        check_positive('widen_factor', widen_factor)
        out_indices = check_out_indices(out_indices, STAGES)
        expansion_indices = check_expansion_indices(expansion_indices, out_indices, STAGES - 2)
        strides = check_numbers('strides', strides, STAGES - 1, 1, 2)
        num_blocks = check_numbers('num_blocks', num_blocks, STAGES - 1, 1)
        frozen_stages = check_int('frozen_stages', frozen_stages, -1, STAGES)
        in_channels = check_int('in_channels', in_channels, 1)
        check_fold_activation(fold_activation)
        # What the inherited constructor builds: expansion, channels, blocks, stride of a stage.
        self.arch_settings = [
            [expansion, channels, blocks, stride]
            for (expansion, channels, _, _), blocks, stride in zip_strict(
                MobileNetV2.arch_settings, num_blocks, strides
            )
        ]
        super().__init__(
            widen_factor=widen_factor,
            out_indices=out_indices,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            **kwargs,
        )
        if in_channels != 3:
            self.conv1 = ConvModule(
                in_channels,
                self.conv1.out_channels,
                3,
                stride=2,
                padding=1,
                conv_cfg=self.conv_cfg,
                norm_cfg=self.norm_cfg,
                act_cfg=self.act_cfg,
            )
        self.expansion_indices = expansion_indices
        self.frozen_stages = frozen_stages  # mmdet's constructor knows none above 7.
        self.fold_activation = fold_activation
        if fold_activation:
            fold_activations(self)
        # Before anyone counts the parameters that have gradients, as DistributedDataParallel does.
        for part in self._parts_not_run():
            part.requires_grad_(False)
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features of ``out_indices`` as a tuple."""
        with recompute_as_asked(self):
            return self._forward(x)

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.conv1(x)
        outs = []
        last = max(self.out_indices)
        for i, name in enumerate(self.layers[: last + 1]):
            stage = getattr(self, name)
            if i in self.expansion_indices:
                expansion, x = _forward_with_expansion(stage, x, alone=i == last)
                outs.append(expansion)
            else:
                x = stage(x)
                if i in self.out_indices:
                    outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> MobileNetV2DN:
        """Set the mode, keep what is frozen in evaluation, and return the module."""
        super().train(mode)
        return self  # mmdet's returns None, and so would eval()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        # mmpretrain, whose ImageNet weights runs start from, numbers the convolutions of a block.
        if any(key.startswith(f'{prefix}layer1.0.conv.') for key in state_dict):
            known = places('mmpretrain', self.state_dict())
            for key in list(state_dict):
                place, _, name = key.removeprefix(prefix).rpartition('.')
                if key.startswith(prefix) and place in known:
                    state_dict[f'{prefix}{known[place]}.{name}'] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _freeze_stages(self) -> None:
        # mmdet takes the stem's gradients away but leaves its running statistics moving, and it
        # does not reach the last convolution.
        if self.frozen_stages >= 0:
            frozen = [self.conv1, *map(self.get_submodule, self.layers[: self.frozen_stages])]
            for part in frozen:
                part.eval().requires_grad_(False)

    def _parts_not_run(self) -> list[nn.Module]:
        """What lies behind the last output."""
        last = max(self.out_indices)
        parts = [getattr(self, name) for name in self.layers[last + 1 :]]
        if last in self.expansion_indices:
            first, *others = getattr(self, self.layers[last])
            parts += [first.depthwise_conv, first.linear_conv, *others]
        return parts


def _forward_with_expansion(
    stage: nn.Sequential, x: Tensor, alone: bool
) -> tuple[Tensor, Tensor | None]:
    """Run a stage; return its first block's expansion and, unless that is all, its output."""
    block = stage[0]
    expansion = block.expand_conv(x)
    if alone:
        return expansion, None

    def project(expansion: Tensor) -> Tensor:
        return block.linear_conv(block.depthwise_conv(expansion))

    if block.with_cp and expansion.requires_grad:
        out = cp.checkpoint(project, expansion, use_reentrant=False)
    else:
        out = project(expansion)
    if block.with_res_shortcut:
        out = x + block.drop_path(out)
    return expansion, stage[1:](out)
