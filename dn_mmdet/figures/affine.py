"""Scale and shift against the channel, by class or by image (the paper's Figure 5)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..utils.python39 import zip_strict
from .style import COLORS, new_figure, plain_axes, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ['plot_affine', 'shown_channels']

# A layer that does the same to every image is drawn flat, not with its rounding errors.
SMALLEST_SPAN = 0.1


def plot_affine(
    layers: Mapping[str, Mapping[str, tuple[Tensor, Tensor]]],
    file: str | Path,
    limit: int = 320,
    title: str = '',
) -> None:
    """Draw a row for each layer: alpha on the left, lambda on the right.

    Args:
        layers (Mapping[str, Mapping[str, tuple[Tensor, Tensor]]]): Layer to group (a class or an
            image) to alpha and lambda of its samples, each of shape (N, C). A group is a line, the
            mean over its samples, inside a band, their range.
        file (str | Path): The picture, .png, .svg or .pdf.
        limit (int): Number of channels that are shown at most. Defaults to 320.
        title (str): A line above the picture. Defaults to none.
    """
    figure = new_figure(11, 2.6 * len(layers) + 0.6, dpi=130)
    axes = figure.subplots(len(layers), 2, squeeze=False)
    for row, (layer, groups) in zip_strict(axes, layers.items()):
        for side, (axis, name) in enumerate(zip_strict(row, ('alpha', 'lambda'))):
            for (group, values), color in zip(groups.items(), cycle(COLORS)):
                _draw(axis, values[side], group, color, limit)
            low, high = axis.get_ylim()
            if high - low < SMALLEST_SPAN:
                middle = (low + high) / 2
                axis.set_ylim(middle - SMALLEST_SPAN / 2, middle + SMALLEST_SPAN / 2)
            axis.ticklabel_format(axis='y', useOffset=False)
            axis.set_title(f'{name} of {layer}', fontsize=9)
            axis.set_xlabel('channel')
            plain_axes(axis)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc='outside lower center',
        ncols=min(len(labels), 6),
        frameon=False,
        fontsize=8,
    )
    if title:
        figure.suptitle(title, fontsize=10)
    save_figure(figure, file)


def shown_channels(channels: int, limit: int = 320) -> range:
    """Channels at even intervals, at most ``limit``: every 4th of 1280, as in the paper."""
    return range(0, channels, -(-channels // limit))


def _draw(axis: Axes, values: Tensor, label: str, color: str, limit: int) -> None:
    channels = shown_channels(values.shape[1], limit)
    values = values[:, list(channels)].numpy()
    axis.plot(channels, values.mean(axis=0), color=color, linewidth=0.9, label=label)
    if len(values) > 1:
        axis.fill_between(
            channels, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0
        )
