"""Scale and shift against the channel, by class or by image (the paper's Figure 5)."""

from itertools import cycle
from pathlib import Path

from ..utils.files import atomic_write

__all__ = ['plot_affine', 'shown_channels']

COLORS = (
    '#0072b2',
    '#d55e00',
    '#009e73',
    '#cc79a7',
    '#e69f00',
    '#56b4e9',
    '#444444',
    '#f0e442',
    '#8c564b',
    '#7f3fbf',
)
# A layer that does the same to every image is drawn flat, not with its rounding errors.
SMALLEST_SPAN = 0.1


def shown_channels(channels, limit=320):
    """Channels at even intervals, at most ``limit``: every 4th of 1280, as in the paper."""
    return range(0, channels, -(-channels // limit))


def plot_affine(layers, file, limit=320, title=''):
    """Draw a row for each layer: alpha on the left, lambda on the right.

    Args:
        layers (dict[str, dict[str, tuple[Tensor, Tensor]]]): layer to group (a class or an image)
            to alpha and lambda of its samples, each of shape (N, C). A group is a line, the mean
            over its samples, inside a band, their range.
        file (str | Path): the picture, .png, .svg or .pdf.
        limit (int): number of channels that are shown at most. Default: 320.
        title (str): a line above the picture. Default: none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6 * len(layers) + 0.6), dpi=130, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(layers), 2, squeeze=False)
    for row, (layer, groups) in zip(axes, layers.items(), strict=True):
        for side, (axis, name) in enumerate(zip(row, ('alpha', 'lambda'), strict=True)):
            for (group, values), color in zip(groups.items(), cycle(COLORS), strict=False):
                _draw(axis, values[side], group, color, limit)
            low, high = axis.get_ylim()
            if high - low < SMALLEST_SPAN:
                middle = (low + high) / 2
                axis.set_ylim(middle - SMALLEST_SPAN / 2, middle + SMALLEST_SPAN / 2)
            axis.ticklabel_format(axis='y', useOffset=False)
            axis.set_title(f'{name} of {layer}', fontsize=9)
            axis.set_xlabel('channel')
            axis.grid(alpha=0.3)
            axis.spines[['top', 'right']].set_visible(False)
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
    with atomic_write(file) as picture:
        figure.savefig(picture, format=Path(file).suffix[1:])


def _draw(axis, values, label, color, limit):
    channels = shown_channels(values.shape[1], limit)
    values = values[:, list(channels)].numpy()
    axis.plot(channels, values.mean(axis=0), color=color, linewidth=0.9, label=label)
    if len(values) > 1:
        axis.fill_between(
            channels, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2, linewidth=0
        )
