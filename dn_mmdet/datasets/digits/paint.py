"""Light ink on a dark background."""

import colorsys
from math import ceil

import numpy as np
from PIL import Image, ImageFilter

__all__ = ['light_colour', 'paint', 'to_uint8']

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SHADOW_REACH = 0.025  # standard deviation, as a share of the digit's longer side
_SHADOW_DEPTH = 0.7


def light_colour(rng: np.random.Generator) -> np.ndarray:
    """A near-white RGB colour, (3,), float32, of luma 0.78 to 1, slightly tinted."""
    hue = np.array(colorsys.hsv_to_rgb(rng.random(), 1, 1))
    strength = rng.uniform(0, 0.3)
    colour = 1 - strength + strength * hue
    return np.clip(colour / (_LUMA @ colour) * rng.uniform(0.8, 1.0), 0, 1).astype(np.float32)


def paint(canvas: np.ndarray, alpha: np.ndarray, left: int, top: int, colour: np.ndarray) -> None:
    """Blend ``colour`` into ``canvas`` (H, W, 3) in place, with ``alpha`` (h, w) at (left, top).

    A soft shadow round the ink keeps overlapping light digits apart.
    """
    reach = _SHADOW_REACH * max(alpha.shape)
    border = ceil(3 * reach)
    shadow = Image.fromarray(to_uint8(np.pad(alpha, border))).filter(
        ImageFilter.GaussianBlur(reach)
    )
    factor = 1 - _SHADOW_DEPTH / 255 * np.asarray(shadow, np.float32)[..., None]
    # The shadow may leave the image, the ink does not.
    up, back = max(top - border, 0), max(left - border, 0)
    area = canvas[up : top + alpha.shape[0] + border, back : left + alpha.shape[1] + border]
    area *= factor[up - top + border :, back - left + border :][: area.shape[0], : area.shape[1]]
    ink = canvas[top : top + alpha.shape[0], left : left + alpha.shape[1]]
    ink += alpha[..., None] * (colour - ink)


def to_uint8(canvas: np.ndarray) -> np.ndarray:
    """Round float pixels in [0, 1] to uint8."""
    return np.round(canvas * 255).astype(np.uint8)
