"""Images of data sets with their boxes and class names, to look at before a run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import mmcv
import numpy as np

from ..utils.python39 import zip_strict
from .style import PALETTE, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['LabeledBox', 'LabeledImage', 'draw_labeled_images']

COLUMNS = 4
INCHES = 2.8  # the width of a column
HEADING = 0.4  # inches
SIDE = 420  # pixels of a picture's longer side
# As Linux, Windows and macOS bring them.
FURTHER_FONTS = (
    'Noto Sans CJK JP',
    'Noto Sans CJK SC',
    'WenQuanYi Micro Hei',
    'WenQuanYi Zen Hei',
    'Microsoft YaHei',
    'SimHei',
    'Malgun Gothic',
    'PingFang SC',
    'Hiragino Sans',
    'Arial Unicode MS',
)


@dataclass(frozen=True)
class LabeledBox:
    """A box in an image.

    Args:
        corners (Sequence[float]): x1, y1, x2, y2 in pixels.
        label (int): The number of its class, which decides the color.
        name (str): The name of its class.
        ignored (bool): Whether training does not learn it (a crowd, a difficult object). Defaults
            to False.
    """

    corners: Sequence[float]
    label: int
    name: str
    ignored: bool = False


@dataclass(frozen=True)
class LabeledImage:
    """An image of a data set.

    Args:
        pixels (np.ndarray): (H, W, 3), RGB, uint8.
        title (str): The text above it, of lines that are about 35 characters long.
        boxes (Sequence[LabeledBox]): May be empty, which is the default.
    """

    pixels: np.ndarray
    title: str
    boxes: Sequence[LabeledBox] = ()

    def shrunk(self) -> LabeledImage:
        """The image at the size of the sheet, so that photographs are not kept in full."""
        scale = SIDE / max(self.pixels.shape[:2])
        boxes = [replace(box, corners=[scale * c for c in box.corners]) for box in self.boxes]
        return LabeledImage(mmcv.imrescale(self.pixels, scale), self.title, boxes)


def draw_labeled_images(parts: Mapping[str, Sequence[LabeledImage]], file: str | Path) -> None:
    """Draw images part by part, four in a row; boxes that are not learned have a dashed line.

    Args:
        parts (Mapping[str, Sequence[LabeledImage]]): Heading to images; a part without images is
            left out.
        file (str | Path): The picture, .png, .svg or .pdf.
    """
    parts = {heading: images for heading, images in parts.items() if images}
    heights = [_row_heights(images) for images in parts.values()]
    totals = [sum(rows) + HEADING for rows in heights]
    # matplotlib draws no picture that is higher.
    figure = new_figure(INCHES * COLUMNS, sum(totals), dpi=min(150, 2**16 // sum(totals)))
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=totals)[:, 0]
    for block, (heading, images), rows in zip_strict(blocks, parts.items(), heights):
        block.suptitle(heading, fontsize=12, parse_math=False)
        axes = block.subplots(len(rows), COLUMNS, squeeze=False, height_ratios=rows).ravel()
        for axis in axes:
            axis.axis('off')
        for axis, image in zip(axes, images):
            _draw(axis, image)
    with warnings.catch_warnings():
        # A letter that no font has becomes a box, which needs no words.
        warnings.filterwarnings('ignore', 'Glyph')
        save_figure(figure, file)


def _row_heights(images: Sequence[LabeledImage]) -> list[float]:
    """In inches; an image much taller than wide does not decide, and becomes narrower."""
    shapes = [image.pixels.shape for image in images]
    lines = max(image.title.count('\n') + 1 for image in images)
    return [
        INCHES * min(max(height / width for height, width, _ in row), 1.5) + 0.14 * lines + 0.1
        for row in (shapes[i : i + COLUMNS] for i in range(0, len(shapes), COLUMNS))
    ]


def _draw(axis: Axes, image: LabeledImage) -> None:
    axis.set_title(
        image.title, fontsize=7, family=['sans-serif', *_further_fonts()], parse_math=False
    )
    axis.imshow(image.pixels)
    # Else a box that lies outside would make the image small.
    axis.autoscale(False)
    height, width = image.pixels.shape[:2]
    for box in image.boxes:
        color = [value / 255 for value in PALETTE[box.label % len(PALETTE)]]
        # The middle of a pixel is at a whole number.
        x1, y1, x2, y2 = (c - 0.5 for c in box.corners)
        axis.plot(
            [x1, x2, x2, x1, x1],
            [y1, y1, y2, y2, y1],
            color=color,
            linewidth=1.2,
            linestyle='--' if box.ignored else '-',
        )
        # Of a box that begins outside, the name is to be seen all the same.
        axis.text(
            min(max(x1, 0), 0.9 * width),
            min(max(y1, 0.03 * height), height),
            box.name,
            fontsize=5,
            color='black' if np.dot(color, (0.299, 0.587, 0.114)) > 0.5 else 'white',
            verticalalignment='bottom',
            family=['sans-serif', *_further_fonts()],
            parse_math=False,
            clip_on=True,
            bbox=dict(facecolor=color, edgecolor='none', alpha=0.7, pad=0.6),
        )


@cache
def _further_fonts() -> list[str]:
    """Fonts of this machine for class names in Chinese, Japanese and Korean, which ours lacks."""
    from matplotlib import font_manager

    return [font for font in font_manager.get_font_names() if font in FURTHER_FONTS]
