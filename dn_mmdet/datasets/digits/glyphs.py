"""Scanned handwritten digits and their rendering at any size."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from math import ceil, cos, radians, sin

import numpy as np
from PIL import Image, ImageFilter

from ...utils.errors import UserError

__all__ = ['Glyphs', 'ink_box', 'light_color', 'load_glyphs', 'paint', 'render_glyph', 'to_uint8']

# Coverage of a scanned cell at which the pen's edge is taken to run, and alpha is one half. Round
# it alpha rises at most this steeply: harder edges would break thin strokes and fill small holes.
_EDGE, _STEEPEST = 0.44, 5.0

_PAD = 3  # empty cells round the 8x8 scan: the bicubic kernel reaches 2 cells

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601

_SHADOW_REACH = 0.025  # standard deviation, as a share of the digit's longer side

_SHADOW_DEPTH = 0.7


@dataclass(frozen=True)
class Glyphs:
    """Scanned digits of one split.

    Args:
        cells (np.ndarray): Ink coverage, (N, 8, 8), float32 in [0, 1].
        labels (np.ndarray): The digit that is written, (N,), int64 in 0..9.
        indices (np.ndarray): Position in ``sklearn.datasets.load_digits``, (N,), int64.
    """

    cells: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def draw(self, rng: np.random.Generator, label: int | None = None) -> int:
        """Position of a random digit of class ``label`` (of a random class by default)."""
        label = rng.integers(10) if label is None else label
        return int(rng.choice(np.flatnonzero(self.labels == label)))


def load_glyphs() -> dict[str, Glyphs]:
    """Load scikit-learn's 1,797 digits, a fifth of every class held out.

    The split does not depend on any seed: a validation digit is never trained on.

    Returns:
        dict[str, Glyphs]: The digits of ``'train'`` (1,437) and of ``'val'`` (360).

    Raises:
        UserError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise UserError(
            'The handwritten digits come with scikit-learn, which is not installed: '
            'pip install "dn_mmdet[demo]"'
        ) from error
    digits = load_digits()
    cells = (digits.images / 16).astype(np.float32)
    train, val = train_test_split(
        np.arange(len(cells)), test_size=0.2, stratify=digits.target, random_state=0
    )
    return {
        split: Glyphs(cells[rows], digits.target[rows].astype(np.int64), rows)
        for split, rows in (('train', np.sort(train)), ('val', np.sort(val)))
    }


def render_glyph(
    cells: np.ndarray, side: float, limit: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw one digit, slightly turned, slanted and stretched, as an antialiased alpha mask.

    Args:
        cells (np.ndarray): Ink coverage, (8, 8), float32 in [0, 1].
        side (float): Side in pixels of the square that has the area of the digit's box.
        limit (int): Largest height and width of the result in pixels; a digit that would be
            larger is drawn smaller.
        rng (np.random.Generator): Source of the jitter.

    Returns:
        np.ndarray: Alpha, (h, w), float32 in [0, 1], without empty rows or columns at its border.
    """
    angle = radians(rng.uniform(-12, 12))
    shear = rng.uniform(-0.2, 0.2)
    aspect = np.exp(rng.uniform(-0.16, 0.16))
    # The jitter changes the box, so measure it at a trial scale first.
    trial = 6.0
    *_, width, height = ink_box(_warp(cells, trial, angle, shear, aspect))
    scale = trial * side / (width * height) ** 0.5
    scale = min(scale, trial * (limit - 4) / max(width, height))
    alpha = _warp(cells, scale, angle, shear, aspect)
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    return alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1][:limit, :limit]


def ink_box(alpha: np.ndarray) -> tuple[int, int, int, int]:
    """Tight box (x, y, width, height) in pixels round the pixels that are at least half ink."""
    ink = alpha >= 0.5
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return (
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    )


def _warp(cells: np.ndarray, scale: float, angle: float, shear: float, aspect: float) -> np.ndarray:
    """Resample with ``scale`` pixels per cell; bicubic, so that the pen's strokes stay smooth."""
    # Forward map of cell offsets to pixel offsets: rotation @ [[aspect, shear], [0, 1]] * scale.
    a, b = scale * aspect * cos(angle), scale * (shear * cos(angle) - sin(angle))
    c, d = scale * aspect * sin(angle), scale * (shear * sin(angle) + cos(angle))
    reach = cells.shape[0] / 2 + 1
    width, height = ceil(2 * reach * (abs(a) + abs(b))), ceil(2 * reach * (abs(c) + abs(d)))
    padded = np.pad(cells, _PAD)
    center = padded.shape[0] / 2
    det = a * d - b * c
    ia, ib, ic, id_ = d / det, -b / det, -c / det, a / det
    inverse = (
        ia,
        ib,
        center - ia * width / 2 - ib * height / 2,
        ic,
        id_,
        center - ic * width / 2 - id_ * height / 2,
    )
    coverage = np.asarray(
        Image.fromarray(padded).transform(
            (width, height), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC
        )
    )
    # Coverage changes by about 1 per cell across an edge; times the scale, alpha changes by about
    # 1 per pixel: the sharpest edge without jaggies.
    return np.clip(0.5 + (coverage - _EDGE) * min(scale, _STEEPEST), 0, 1)


def light_color(rng: np.random.Generator) -> np.ndarray:
    """A near-white RGB color, (3,), float32, of luma 0.78 to 1, slightly tinted."""
    hue = np.array(colorsys.hsv_to_rgb(rng.random(), 1, 1))
    strength = rng.uniform(0, 0.3)
    color = 1 - strength + strength * hue
    return np.clip(color / (_LUMA @ color) * rng.uniform(0.8, 1.0), 0, 1).astype(np.float32)


def paint(canvas: np.ndarray, alpha: np.ndarray, left: int, top: int, color: np.ndarray) -> None:
    """Blend ``color`` into ``canvas`` (H, W, 3) in place, with ``alpha`` (h, w) at (left, top).

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
    ink += alpha[..., None] * (color - ink)


def to_uint8(canvas: np.ndarray) -> np.ndarray:
    """Round float pixels in [0, 1] to uint8."""
    return np.round(canvas * 255).astype(np.uint8)
