"""Images with texts below them, as in the paper's Figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmcv

from ..utils.python39 import zip_strict
from .style import new_figure, save_figure

__all__ = ['draw_gallery']

COLUMNS = 4
SIDE = 224  # pixels of a picture's longer side


def draw_gallery(parts: Sequence[tuple[str, Sequence[tuple[str, str]]]], file: str | Path) -> None:
    """Draw images part by part, four in a row.

    Args:
        parts (Sequence[tuple[str, Sequence[tuple[str, str]]]]): Heading, and for each image its
            file and the text below it, of lines that are about 24 characters long; a part
            without images is left out.
        file (str | Path): The picture, .png, .svg or .pdf.
    """
    parts = [(heading, images) for heading, images in parts if images]
    rows = [-(-len(images) // COLUMNS) for _, images in parts]
    lines = max(text.count('\n') + 1 for _, images in parts for _, text in images)
    height = (2.3 + 0.17 * lines) * sum(rows) + 0.4 * len(parts)
    figure = new_figure(2.6 * COLUMNS, height, dpi=100)
    blocks = figure.subfigures(len(parts), 1, squeeze=False, height_ratios=rows)[:, 0]
    for block, (heading, images), count in zip_strict(blocks, parts, rows):
        block.suptitle(heading, fontsize=12)
        axes = block.subplots(count, COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.axis('off')
        for axis, (path, text) in zip(axes, images):
            image = mmcv.imread(path, channel_order='rgb')
            axis.imshow(mmcv.imrescale(image, SIDE / max(image.shape[:2])))
            # Below the image; a label would go with the axis.
            axis.text(
                0.5,
                -0.03,
                text,
                transform=axis.transAxes,
                ha='center',
                va='top',
                fontsize=9,
                linespacing=1.3,
            )
    save_figure(figure, file)
