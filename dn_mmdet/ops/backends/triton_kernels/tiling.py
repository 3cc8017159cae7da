"""How a map is cut into tiles."""

from typing import NamedTuple

from torch import Tensor

__all__ = ['Tiling', 'ceil_div', 'power_of_2', 'tile']

# Numbers of a tile, and of a warp: 16 for each of 128 threads.
TILE, OF_A_WARP = 2048, 512
# Channels of a tile at most. Where they lie side by side these are 128 bytes of half precision.
CHANNELS = 64
# A sum is split into parts until this many programs share it: 8 for each multiprocessor of the
# larger cards.
PROGRAMS = 1024
# More parts than these would make their merge the longer half of the work.
MAX_PARTS = 256


class Tiling(NamedTuple):
    """The cut of one map.

    Attributes:
        channels (int): C.
        places (int): H * W.
        tiles (int): Tiles of a part.
        parts (int): Parts into which the places of a sample are divided.
        programs (int): Number of samples times blocks of channels times parts.
        constants (dict): Of the kernels: ``PLANAR``, whether the places lie side by side, or else
            the channels; ``UNIT``, a divisor of the length of that axis, so that whole vectors
            may be read; the channels and places of a tile; and ``num_warps``.
    """

    channels: int
    places: int
    tiles: int
    parts: int
    programs: int
    constants: dict


def tile(x: Tensor, summed: bool = False) -> Tiling:
    """Cut a map, contiguous or channels_last; a part is one tile, or several where it is summed."""
    n, c, h, w = x.shape
    places, planar = h * w, x.is_contiguous()
    if planar:
        block_s = min(power_of_2(places), TILE)
        block_c = min(power_of_2(c), CHANNELS, TILE // block_s)
    else:
        block_c = min(power_of_2(c), CHANNELS, TILE)
        block_s = min(power_of_2(places), TILE // block_c)
    tiles, rows = ceil_div(places, block_s), n * ceil_div(c, block_c)
    of_a_part = 1
    if summed:
        of_a_part = ceil_div(tiles, min(ceil_div(PROGRAMS, rows), MAX_PARTS))
    parts = ceil_div(tiles, of_a_part)
    constants = {
        'PLANAR': planar,
        'UNIT': _unit(places if planar else c, 16 // x.element_size()),
        'BLOCK_C': block_c,
        'BLOCK_S': block_s,
        'num_warps': min(max(block_c * block_s // OF_A_WARP, 1), 4),
    }
    return Tiling(c, places, of_a_part, parts, rows * parts, constants)


def ceil_div(a: int, b: int) -> int:
    """The quotient, rounded up."""
    return -(-a // b)


def power_of_2(number: int) -> int:
    """The smallest power of two that is not smaller."""
    return 1 << (number - 1).bit_length()


def _unit(length: int, largest: int) -> int:
    return min(length & -length, largest)
