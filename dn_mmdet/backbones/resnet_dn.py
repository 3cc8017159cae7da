"""ResNet-18 and ResNet-34 of the paper (Sec. 4.1), for classifiers and detectors."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import build_conv_layer, build_norm_layer
from mmdet.models.backbones import ResNet
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..layers.dynamic_norm import DynamicNorm
from ..layers.fold_activation import fold_activations
from .arguments import check_fold_activation, check_int, check_numbers, check_out_indices
from .recompute import recompute_as_asked

__all__ = ['ResNetDN']

DEPTHS = (18, 34)


# The root registry, for the reason given at MobileNetV2DN.
@MODELS.register_module()
class ResNetDN(ResNet):
    """mmdet's ResNet-18/34 with the paper's stem and any norm layer.

    The stem is one 3x3 convolution of stride 2, without max-pooling, and the first stage has
    stride 2 too, with a 1x1 convolution on its shortcut. (torchvision's has a 7x7 stem, a
    max-pooling and no stride in the first stage.) With BN, 100 classes and images of 224x224 the
    sizes and costs of the paper come out, 11.22M parameters and 1730.12M multiply-adds for
    depth 18. Stages have strides 4, 8, 16 and 32 and keys of the state dict are mmdet's.

    The defaults differ from :class:`mmdet.models.ResNet` where those are for fine-tuning alone:
    ``norm_eval`` and ``zero_init_residual`` are off.

    Args:
        depth (int): 18 or 34.
        in_channels (int): Channels of the image. Defaults to 3.
        base_channels (int): Channels of the stem and the first stage; each further stage has
            twice as many. Defaults to 64.
        num_stages (int): Number of stages, 1 to 4. Defaults to 4.
        strides (Sequence[int]): Stride of each stage. Defaults to (2, 2, 2, 2).
        dilations (Sequence[int]): Dilation of each stage. Defaults to (1, 1, 1, 1).
        out_indices (Sequence[int]): Stages whose output is returned, from 0. What lies behind the
            last of them is neither run nor trained, but stays in the state dict, so that the same
            checkpoints fit; ``num_stages`` leaves it out. Defaults to (0, 1, 2, 3).
        frozen_stages (int): The stem and this many stages, the first ones, are frozen: no
            gradient, and running statistics that stand still. 0 freezes the stem alone, -1
            nothing. Defaults to -1.
        conv_cfg (dict, optional): The convolution layer. Defaults to ``nn.Conv2d``.
        norm_cfg (dict): The norm layer: ``dict(type='BN')``, ``dict(type='DNB', r=16, g='oup')``
            or any other that mmcv can build. The paper has ``eps=1e-3``.
            Defaults to ``dict(type='BN')``.
        norm_eval (bool): All running statistics stand still in training. Defaults to False.
        with_cp (bool): Checkpoint each block, which saves memory for time. Defaults to False.
        zero_init_residual (bool): Start the last gamma of each block at 0, so the block
            begins as its shortcut. DN-B and DN-C have no trained gamma and refuse it: their
            scale is an offset, which stays as it starts, plus the SC-Module, and with an offset
            of 0 it is the form that does not train. So it is off by default, and a norm can be
            exchanged by ``norm_cfg`` alone. Defaults to False.
        fold_activation (bool | str): DN-B layers apply the ReLU behind them, which saves a pass;
            behind the last norm of a block comes the sum with the shortcut instead. 'recompute'
            also keeps none of their outputs for the backward, which saves memory and costs a pass.
            Other norms are not concerned. Defaults to True.
        init_cfg (dict | list[dict], optional): Defaults to Kaiming (fan-out) for convolutions, 1
            and 0 for gamma and beta.

    Shape:
        - Input: (N, in_channels, H, W), normalized pixels, floating point.
        - Output: tuple of (N, C_i, H_i, W_i), one for each of ``out_indices``, in stage order.

    Raises:
        ValueError: An argument is out of range, or ``zero_init_residual`` is asked of a norm
            without a trained gamma.
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        base_channels: int = 64,
        num_stages: int = 4,
        strides: Sequence[int] = (2, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        conv_cfg: dict | None = None,
        norm_cfg: dict = dict(type='BN'),  # noqa: B006 - mmdet's convention, never written to
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = False,
        fold_activation: bool | str = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if depth not in DEPTHS:
            raise ValueError(f'depth must be one of {DEPTHS}, but got {depth!r}')
        num_stages = check_int('num_stages', num_stages, 1, 4)
        in_channels = check_int('in_channels', in_channels, 1)
        base_channels = check_int('base_channels', base_channels, 1)
        strides = check_numbers('strides', strides, num_stages, 1, each='of num_stages')
        dilations = check_numbers('dilations', dilations, num_stages, 1, each='of num_stages')
        out_indices = check_out_indices(out_indices, num_stages)
        frozen_stages = check_int('frozen_stages', frozen_stages, -1, num_stages)
        check_fold_activation(fold_activation)
        super().__init__(
            depth,
            in_channels=in_channels,
            base_channels=base_channels,
            num_stages=num_stages,
            strides=strides,
            dilations=dilations,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            with_cp=with_cp,
            zero_init_residual=zero_init_residual,
            init_cfg=init_cfg,
        )
        if zero_init_residual and isinstance(self.norm1, DynamicNorm):
            raise ValueError(
                f'zero_init_residual must be False with norm_cfg of type {norm_cfg["type"]!r}, '
                'which has no trained gamma'
            )
        self.fold_activation = fold_activation
        if fold_activation:
            fold_activations(self)
        # Before anyone counts the parameters that have gradients, as DistributedDataParallel does;
        # what is frozen the inherited constructor has frozen.
        for name in self.res_layers[max(out_indices) + 1 :]:
            getattr(self, name).requires_grad_(False)

    def _make_stem_layer(self, in_channels: int, stem_channels: int) -> None:
        self.conv1 = build_conv_layer(
            self.conv_cfg, in_channels, stem_channels, 3, stride=2, padding=1, bias=False
        )
        self.norm1_name, norm1 = build_norm_layer(self.norm_cfg, stem_channels, postfix=1)
        self.add_module(self.norm1_name, norm1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features of ``out_indices`` as a tuple."""
        with recompute_as_asked(self):
            return self._forward(x)

    def _forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # mmdet runs the stages behind the last output too.
        x = self.relu(self.norm1(self.conv1(x)))
        outs = []
        for i, name in enumerate(self.res_layers[: max(self.out_indices) + 1]):
            x = getattr(self, name)(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> ResNetDN:
        """Set the mode, keep what is frozen in evaluation, and return the module."""
        super().train(mode)
        return self  # mmdet's returns None, and so would eval()
