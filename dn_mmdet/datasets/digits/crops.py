"""Single-digit crops with the look of the scenes, to pretrain a backbone on."""

import numpy as np
from PIL import Image

from .glyphs import Glyphs, render_glyph
from .paint import light_colour, paint, to_uint8
from .photographs import random_background

__all__ = ['compose_crop']


def compose_crop(
    glyphs: Glyphs,
    photographs: dict[str, Image.Image],
    label: int,
    size: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Paste one digit, whose longer side fills about 50 to 95 % of the crop, at a random place.

    Args:
        glyphs (Glyphs): Digits to choose from.
        photographs (dict[str, Image.Image]): RGB photographs by name to choose from.
        label (int): Digit to show, 0..9.
        size (int): Side of the crop in pixels.
        rng (np.random.Generator): The only source of chance.

    Returns:
        np.ndarray: RGB, (size, size, 3), uint8.
    """
    _, canvas = random_background(photographs, size, rng)
    cells = glyphs.cells[glyphs.draw(rng, label)]
    # The limit decides the size: a box of the crop's full area never fits. It counts the soft edge
    # of the ink as well, about 5 % of a crop of 80 pixels.
    alpha = render_glyph(cells, size, round(size * rng.uniform(0.55, 1.0)), rng)
    left = int(rng.integers(size - alpha.shape[1] + 1))
    top = int(rng.integers(size - alpha.shape[0] + 1))
    paint(canvas, alpha, left, top, light_colour(rng))
    return to_uint8(canvas)
