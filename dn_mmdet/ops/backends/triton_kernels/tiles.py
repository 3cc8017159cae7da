"""What the kernels over maps share: the tile of a program, the activation, and who comes last."""

import triton
import triton.language as tl

__all__ = ['channels_of', 'gate', 'is_last', 'locate', 'take']


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


@triton.jit
def is_last(counter_ptr, programs):
    """Whether this program is the last of some to come here; it then sees what all have stored.

    None waits for another: whichever comes last goes on, and sums in an order of its own, not in
    that in which the others came, so the same bits come out each time. It leaves the counter at
    0, as it found it, for the next launch in the stream or the next replay of a CUDA graph.

    The first barrier orders the stores of all threads of a program before its atomic operation.
    Its release publishes them to the device, its acquire shows those of the others, and the
    second barrier hands that on to all threads.
    """
    tl.debug_barrier()
    before = tl.atomic_add(counter_ptr, 1, sem='acq_rel')
    last = before == programs - 1
    tl.store(counter_ptr, 0, mask=last)
    tl.debug_barrier()
    return last
