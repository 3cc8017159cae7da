"""One forward and backward of a layer beside the same in float64."""

import torch
from torch import nn

from tests.helpers.equations import float64_copy
from tests.helpers.tolerances import assert_near


def randomize(layer, mean=0.0, seed=0):
    """Numbers as after some training; the statistics fit inputs of this mean."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in layer.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) / 3)
            if name.endswith('running_var'):
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            if name.endswith('running_mean'):
                value.add_(mean)
            if name.endswith(('alpha_offset', 'bn.weight')):
                value.add_(1)
            if name.endswith('fc1_weight'):
                # Else a large mean would saturate the sigmoid, and nothing would be tested.
                value.div_(max(mean, 1) * value.shape[1] ** 0.5)
    return layer


def random_maps(shape, dtype=torch.float32, channels_last=False, mean=0.0, seed=1):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(shape, generator=generator, dtype=torch.float64) + mean
    return maps.to(dtype).contiguous(memory_format=layout)


def assert_equals_equations(layer, equations, x, batch, mean_over_std=0, **options):
    """Output, running statistics, and gradients of input and parameters."""
    dtype = x.dtype
    numbers, exact_x = float64_copy(layer, x)
    exact_y = equations(exact_x, numbers, batch, **options)
    dy = random_maps(x.shape, dtype, not x.is_contiguous(), seed=2)
    exact_y.backward(dy.double())

    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    assert y.dtype == dtype and y.shape == x.shape
    assert y.is_contiguous() == x.is_contiguous()
    assert_near(y, exact_y, dtype, mean_over_std, 'output')
    assert_near(x.grad, exact_x.grad, dtype, mean_over_std, 'gradient of the input')
    # What is summed over the batch is float32 also where the maps are not.
    sums = torch.float32 if dtype == torch.bfloat16 else dtype
    for name in {'bn.running_mean', 'bn.running_var'} & {*numbers}:
        assert_near(layer.state_dict()[name], numbers[name], sums, mean_over_std, name)
    for name, parameter in layer.named_parameters():
        assert_near(parameter.grad, numbers[name].grad, sums, mean_over_std, name)


def trained_bn(channels=24, **kwargs):
    """A BatchNorm in evaluation whose numbers are none of those at start."""
    bn = nn.BatchNorm2d(channels, **kwargs)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in bn.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(channels, generator=generator) + 0.5)
            else:
                value.fill_(7)
    return bn.eval()
