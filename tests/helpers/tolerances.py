"""How far a result may lie from the float64 equations, per dtype of input and output."""

import torch

# Relative to the largest number of the tensor, or to 1: gradients that cancel are exact to the
# precision of their terms.
TOLERANCES = {
    torch.float64: 1e-11,
    torch.float32: 2e-5,
    torch.float16: 2.5e-3,
    torch.bfloat16: 2e-2,
}
# float32 numbers of mean mu and deviation sigma say x - mu to about mu / sigma of their own
# precision, in any BatchNorm.
CANCELLATION = 3e-6


def assert_near(actual, expected, dtype, mean_over_std=0, name=''):
    tolerance = max(TOLERANCES[dtype], CANCELLATION * mean_over_std)
    error = (actual.double() - expected.double()).abs().max()
    scale = max(expected.double().abs().max().item(), 1)
    assert error <= tolerance * scale, f'{name}: {error:.2e} of {scale:.2e}'


# Of the scale of what float32 rounds on the way to a result: 16 ulps.
COMPUTED = 1e-6
# As much more where thousands of numbers are added one after the other.
SUMMED = 5


def rounding(exact, dtype, scale):
    """How far each number may lie from the exact one, given the scale of what was rounded."""
    info = torch.finfo(dtype)
    return exact.abs() * info.eps + scale * COMPUTED + info.smallest_normal


def assert_rounded(actual, exact, dtype, scale, name=''):
    excess = ((actual.double() - exact).abs() / rounding(exact, dtype, scale)).max()
    assert excess <= 1, f'{name}: {excess:.2f} times what rounding explains'
