"""Parameters and multiply-adds as the paper counts them (Tables 1 to 7)."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.analysis.complexity_analysis import parameter_count
from mmengine.analysis.jit_handles import bmm_flop_jit, get_shape
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

__all__ = ['Complexity', 'count_complexity']

# The paper counts convolutions and fully connected layers, without biases; norm arithmetic and
# pooling are free. mmengine's analysis would count these. (torch's FlopCounterMode would not, but
# it misses more: with g = 1 the second layer of the SC-Module is an elementwise product by the time
# it is dispatched, which takes five rows off the paper's figures; a module whose parts are called
# in its place gets nothing; and compiled operators, as mmcv's, pass it without a name.)
FREE_OPERATORS = (
    'aten::batch_norm',
    'aten::group_norm',
    'aten::layer_norm',
    'aten::instance_norm',
    'aten::adaptive_avg_pool2d',
    'aten::upsample_nearest2d',
    'aten::upsample_bilinear2d',
    'aten::grid_sampler',
)
# Of the operators that mmengine does not know, those with these in their names may cost: custom
# functions, which a trace does not look into, and matrix products. The others are elementwise.
COSTLY = ('PythonOp', 'conv', 'mm', 'mv', 'attention', 'lstm', 'gru', 'torchvision', 'mmcv')


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a model.

    Attributes:
        params (int): Trainable numbers (statistics and offsets, which are buffers, not counted).
        mult_adds (int): Multiply-adds of one forward pass with one image.
        modules (Mapping[str, tuple[int, int]]): Both counts of every module inside, by its
            dotted name.
        uncounted (tuple[str, ...]): Operators that the trace met and that may cost something, but
            are not in ``mult_adds``, as deformable convolutions and RoI pooling.
    """

    params: int
    mult_adds: int
    modules: Mapping[str, tuple[int, int]] = field(default_factory=dict, repr=False)
    uncounted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'{self.params / 1e6:.2f}M parameters, {self.mult_adds / 1e6:.2f}M multiply-adds'


def count_complexity(model: nn.Module, shape: tuple[int, int], channels: int = 3) -> Complexity:
    """Count the parameters and multiply-adds of a detector, classifier or any module.

    Convolutions, fully connected layers and other matrix products are counted, without their
    biases; norms, pooling, interpolation and elementwise operators are free.

    Args:
        model (nn.Module): Its forward pass is traced in evaluation mode on its device; the mode
            is restored. Where it takes ``data_samples``, as mmdet's detectors do, it is given one
            that holds the shape.
        shape (tuple[int, int]): Height and width of the image, in pixels.
        channels (int): Channels of the image. Defaults to 3.

    Returns:
        Complexity: Both counts.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        parameter = next(model.parameters(), torch.empty(0))
        image = torch.zeros(1, channels, *shape, device=parameter.device)
        analyzer = FlopAnalyzer(_Traceable(model, shape), (image,))
        for operator in FREE_OPERATORS:
            # A handle of None would leave mmengine's own in place.
            analyzer.set_op_handle(operator, lambda inputs, outputs: 0)
        analyzer.set_op_handle(
            'aten::baddbmm', lambda inputs, outputs: bmm_flop_jit(inputs[1:3], outputs)
        )
        analyzer.set_op_handle('aten::scaled_dot_product_attention', _count_attention)
        # The data preprocessor is not part of forward(x), and elementwise operators are free.
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analyzer.tracer_warnings('none')
        # With gradients, with_cp would put blocks inside a function that no trace looks into.
        with torch.no_grad():
            mult_adds = analyzer.by_module()
        params = parameter_count(model)
        names = [name for name, _ in model.named_modules() if name]
        return Complexity(
            params=sum(p.numel() for p in model.parameters()),
            mult_adds=int(mult_adds['']),
            modules={
                name: (params.get(name, 0), int(mult_adds[f'model.{name}'])) for name in names
            },
            uncounted=tuple(
                sorted(
                    name.removeprefix('prim::PythonOp.').removeprefix('aten::')
                    for name in analyzer.unsupported_ops()
                    if any(part in name for part in COSTLY)
                )
            ),
        )
    finally:
        for module, mode in modes:
            module.training = mode


class _Traceable(nn.Module):
    """A model of one image that returns tensors, as a trace wants it."""

    def __init__(self, model: nn.Module, shape: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.arguments = {}
        if 'data_samples' in inspect.signature(model.forward).parameters:
            # What two-stage detectors and transformers read of their input; some unpack a ground
            # truth, which they do not use.
            sample = BaseDataElement(
                metainfo=dict(
                    img_shape=shape,
                    ori_shape=shape,
                    pad_shape=shape,
                    batch_input_shape=shape,
                    scale_factor=(1.0, 1.0),
                )
            )
            sample.gt_instances = InstanceData()
            self.arguments['data_samples'] = [sample]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(_tensors(self.model(image, **self.arguments)))


def _tensors(output: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, dicts and data elements."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (BaseDataElement, Mapping)):
        yield from _tensors(list(output.values()))
    elif isinstance(output, (list, tuple)):
        for item in output:
            yield from _tensors(item)


def _count_attention(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Both products of an attention: queries by keys, and weights by values."""
    queries, keys, values = (get_shape(value) for value in inputs[:3])
    return prod(queries[:-1]) * keys[-2] * (queries[-1] + values[-1])
