"""Parameters and multiply-adds as the paper counts them (Tables 1 to 7)."""

from dataclasses import dataclass

import torch
from mmengine.analysis import FlopAnalyzer

__all__ = ['Complexity', 'count_complexity']

# The paper counts convolutions and fully connected layers, without biases; norm arithmetic and
# pooling are free. mmengine's analysis would count these.
FREE_OPERATORS = ('aten::batch_norm', 'aten::group_norm', 'aten::layer_norm',
                  'aten::instance_norm', 'aten::adaptive_avg_pool2d')


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a model.

    Attributes:
        params (int): trainable numbers (statistics and offsets, which are buffers, not counted).
        mult_adds (int): multiply-adds of one forward pass with one image.
    """

    params: int
    mult_adds: int

    def __str__(self):
        return f'{self.params / 1e6:.2f}M parameters, {self.mult_adds / 1e6:.2f}M multiply-adds'


def count_complexity(model, shape):
    """Count the parameters and multiply-adds of a detector, classifier or any module.

    Args:
        model (nn.Module): its plain ``forward(x)`` is traced in evaluation mode on its device;
            the mode is restored.
        shape (tuple[int, int]): height and width of the image, in pixels.

    Returns:
        Complexity: both counts.
    """
    training = model.training
    model.eval()
    try:
        image = torch.zeros(1, 3, *shape, device=next(model.parameters()).device)
        analyzer = FlopAnalyzer(model, (image, ))
        for operator in FREE_OPERATORS:
            # A handle of None would leave mmengine's own in place.
            analyzer.set_op_handle(operator, lambda inputs, outputs: 0)
        # The data preprocessor is no part of forward(x), and elementwise operators are free.
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analyzer.tracer_warnings('none')
        return Complexity(
            params=sum(p.numel() for p in model.parameters()), mult_adds=int(analyzer.total()))
    finally:
        model.train(training)
