"""Scenes: up to six digits on a darkened photograph, with their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .glyphs import Glyphs, ink_box, light_color, paint, render_glyph, to_uint8
from .photographs import random_background

__all__ = ['Scene', 'compose_crop', 'compose_scene']

# Sides of the square that has a box's area, as a share of the image's side. At 160 pixels these
# are 18-31, 33-92 and 98-120 pixels: COCO's small, medium and large.
_SMALL, _MEDIUM, _LARGE = (0.1125, 0.195), (0.205, 0.575), (0.61, 0.75)

_MAX_IOU, _MAX_COVERED, _MAX_HIDDEN = 0.3, 0.3, 1 / 3

Box = tuple[int, int, int, int]


@dataclass
class Scene:
    """One image and what is on it. K digits, in the order in which they were painted.

    Args:
        image (np.ndarray): RGB, (size, size, 3), uint8.
        photograph (str): Name of the photograph behind.
        labels (list[int]): Digit written, K of 0..9.
        digits (list[int]): Position in ``sklearn.datasets.load_digits``, K.
        boxes (list[Box]): Tight boxes (x, y, width, height) in pixels, K.
        masks (np.ndarray): Ink, hidden parts included, (K, size, size), bool.
    """

    image: np.ndarray
    photograph: str
    labels: list[int]
    digits: list[int]
    boxes: list[Box]
    masks: np.ndarray


def compose_scene(
    glyphs: Glyphs, photographs: dict[str, Image.Image], size: int, rng: np.random.Generator
) -> Scene:
    """Paste digits on a random background.

    Boxes lie inside the image, overlap by an IoU of at most 0.3 and 0.3 of the smaller box, and
    no digit has more than a third of its ink hidden.

    Args:
        glyphs (Glyphs): Digits to choose from.
        photographs (dict[str, Image.Image]): RGB photographs by name to choose from.
        size (int): Side of the image in pixels.
        rng (np.random.Generator): The only source of chance.

    Returns:
        Scene: The image with its labels, boxes and ink masks.
    """
    photograph, canvas = random_background(photographs, size, rng)
    scene = Scene(canvas, photograph, [], [], [], np.zeros((0, size, size), bool))
    # Large digits first: what comes later is smaller and finds room beside them.
    for side in sorted(_sides(rng), reverse=True):
        chosen = glyphs.draw(rng)
        # Where there is no room, a smaller digit may still fit.
        for shrink in (1, 0.75, 0.5):
            alpha = render_glyph(
                glyphs.cells[chosen], size * max(side * shrink, _SMALL[0]), size - 2, rng
            )
            place = _find_place(scene, alpha, rng)
            if place is not None:
                left, top, box, mask = place
                paint(canvas, alpha, left, top, light_color(rng))
                scene.labels.append(int(glyphs.labels[chosen]))
                scene.digits.append(int(glyphs.indices[chosen]))
                scene.boxes.append(box)
                scene.masks = np.concatenate([scene.masks, mask[None]])
                break
    scene.image = to_uint8(canvas)
    return scene


def _sides(rng: np.random.Generator) -> list[float]:
    """Draw how many digits there are and how large: none, a large one with company, or several."""
    kind = rng.random()
    if kind < 0.03:
        return []
    large, others = ([_LARGE], rng.integers(0, 3)) if kind < 0.5 else ([], rng.integers(1, 7))
    ranges = large + [_SMALL if rng.random() < 0.25 else _MEDIUM for _ in range(others)]
    return [float(np.exp(rng.uniform(*np.log(r)))) for r in ranges]


def _find_place(
    scene: Scene, alpha: np.ndarray, rng: np.random.Generator
) -> tuple[int, int, Box, np.ndarray] | None:
    """A place (left, top, box, mask) for a digit that leaves the others to be seen, or None."""
    size = scene.masks.shape[-1]
    x, y, width, height = ink_box(alpha)
    for _ in range(25):
        left = int(rng.integers(size - alpha.shape[1] + 1))
        top = int(rng.integers(size - alpha.shape[0] + 1))
        box = (left + x, top + y, width, height)
        if not all(_apart(box, other) for other in scene.boxes):
            continue
        mask = np.zeros((size, size), bool)
        mask[top : top + alpha.shape[0], left : left + alpha.shape[1]] = alpha >= 0.5
        if _leaves_visible(np.concatenate([scene.masks, mask[None]])):
            return left, top, box, mask
    return None


def _apart(a: Box, b: Box) -> bool:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    areas = a[2] * a[3], b[2] * b[3]
    return both <= _MAX_IOU * (sum(areas) - both) and both <= _MAX_COVERED * min(areas)


def _leaves_visible(masks: np.ndarray) -> bool:
    """Whether each of the masks, painted one over the other, keeps enough of its ink."""
    above = np.zeros(masks.shape[1:], bool)
    for mask in masks[::-1]:
        if (mask & above).sum() > _MAX_HIDDEN * mask.sum():
            return False
        above |= mask
    return True


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
    paint(canvas, alpha, left, top, light_color(rng))
    return to_uint8(canvas)
