"""What the kernels over maps share: which tile a program takes, and how it passes an activation."""

import triton
import triton.language as tl

__all__ = ['channels_of', 'gate', 'locate', 'take']


@triton.jit
def take(channels, parts, BLOCK_C: tl.constexpr):
    """Sample, block of channels and part of this program, all in 64 bits."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(channels, BLOCK_C)
    block = program % blocks
    part = program // blocks % parts
    return program // blocks // parts, block, part


@triton.jit
def channels_of(block, BLOCK_C: tl.constexpr):
    """Channels of a block, some of which may lie past the last."""
    return block * BLOCK_C + tl.arange(0, BLOCK_C)


@triton.jit
def locate(
    sample,
    c,
    number,
    channels,
    places,
    PLANAR: tl.constexpr,
    UNIT: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    """Where the numbers of a tile lie, counted from the first of the map, and which there are.

    Both are of shape (channels of ``c``, BLOCK_S); ``number`` counts the tiles along the places.
    """
    s = number * BLOCK_S + tl.arange(0, BLOCK_S)
    # The product with a constant tells the compiler of the alignment.
    if PLANAR:
        places = places // UNIT * UNIT
        at = c[:, None] * places + s[None, :]
    else:
        channels = channels // UNIT * UNIT
        at = s[None, :] * channels + c[:, None]
    inside = (c < channels)[:, None] & (s < places)[None, :]
    return sample * channels * places + at, inside


@triton.jit
def gate(dy, x, scale, shift, LOW: tl.constexpr, HIGH: tl.constexpr):
    """``dy`` where the activation of ``x * scale + shift`` passes it; NaN passes, as in torch."""
    # The same product and sum as in the forward, so that both see the same side of a bound.
    y = tl.fma(x, scale, shift)
    return tl.where((y <= LOW) | (y >= HIGH), 0.0, dy)
