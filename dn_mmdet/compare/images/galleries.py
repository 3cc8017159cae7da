"""Pictures of the images on which a group and its baseline differ most."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np

from ...figures.class_gallery import draw_gallery
from ...figures.detections import draw_side_by_side
from ...utils.python39 import zip_strict
from ..groups import Group
from .predictions import Pairs, Predictions
from .results import SCORE_THR, ClassResults, ImageResults

__all__ = ['Extremes', 'Gallery', 'draw_galleries', 'find_extremes']

# Images to each side.
DETECTIONS, CLASSES = 3, 8


class Gallery(NamedTuple):
    """A picture in a report.

    Attributes:
        label (str): Label of the group.
        baseline (str): Label of its baseline.
        file (str): Name of the PNG.
        title (str): What it shows, without a full stop.
        counts (str): A sentence with the number of images to either side, and how they are ranked.
    """

    label: str
    baseline: str
    file: str
    title: str
    counts: str


def draw_galleries(
    predictions: Predictions, compared: Sequence[tuple[Group, Group]], folder: Path
) -> list[Gallery]:
    """Draw a picture for each group of which, and of whose baseline, predictions are there.

    Args:
        predictions (Predictions): What the runs predict.
        compared (Sequence[tuple[Group, Group]]): Each group with a baseline, and that.
        folder (Path): Folder of the pictures.
    """
    galleries = []
    for group, baseline in compared:
        pairs, label = predictions.pairs(group, baseline), group.label
        if not pairs:
            continue
        is_class = isinstance(next(iter(pairs.values()))[0], ClassResults)
        extremes = find_extremes(list(pairs.values()), CLASSES if is_class else DETECTIONS)
        if not extremes.better and not extremes.worse:
            continue
        file = _file_name(
            'classes' if is_class else 'detections', label, [gallery.file for gallery in galleries]
        )
        draw = _draw_classes if is_class else _draw_detections
        title = draw(label, baseline.label, pairs, extremes, folder / file)
        galleries.append(
            Gallery(
                label,
                baseline.label,
                file,
                title,
                _counts(label, baseline.label, extremes, len(pairs), is_class),
            )
        )
    return galleries


def _file_name(what: str, label: str, taken: Collection[str]) -> str:
    slug = re.sub(r'\W+', '_', label).strip('_').lower()[:60]
    names = (f'{what}_{slug}{number}.png' for number in chain([''], (f'_{i}' for i in count(2))))
    return next(name for name in names if name not in taken)


def _draw_detections(
    label: str, baseline: str, pairs: Pairs, extremes: 'Extremes', file: Path
) -> str:
    seed = min(pairs)
    first, second = pairs[seed]
    shown = [*extremes.better, *extremes.worse]
    mean = ', mean F1' if len(pairs) > 1 else ', F1'
    infos = [first.dataset.get_data_info(place) for place in range(len(first.dataset))]
    places = {info['img_id']: place for place, info in enumerate(infos)}
    rows = [places[first.images[i]] for i in shown]
    titles = [
        [
            fill(text, 30)
            for text in (
                f'ground truth, {Path(infos[row]["img_path"]).name}',
                f'{baseline}{mean} {extremes.first[i]:.2f}',
                f'{label}{mean} {extremes.second[i]:.2f}',
            )
        ]
        for i, row in zip_strict(shown, rows)
    ]
    draw_side_by_side(
        first.dataset, rows, {'first': first.found, 'second': second.found}, file, titles, SCORE_THR
    )
    return (
        f'Ground truth, {baseline} and {label} (seed {seed}, score {SCORE_THR} and above) on '
        f'the {len(shown)} images where they differ most'
    )


def _draw_classes(label: str, baseline: str, pairs: Pairs, extremes: 'Extremes', file: Path) -> str:
    first, second = next(iter(pairs.values()))
    infos = first.dataset

    def told(i: int) -> tuple[str, str]:
        lines = [f'true: {_short(first.classes[first.labels[i]])}']
        for name, side in ((baseline, 0), (label, 1)):
            found = Counter(first.classes[pair[side].predicted[i]] for pair in pairs.values())
            times = len(pairs) > 1
            lines.append(
                f'{name}: '
                + ', '.join(
                    f'{_short(text)}{f" x{number}" if times else ""}'
                    for text, number in found.most_common()
                )
            )
        return infos.get_data_info(i)['img_path'], '\n'.join(lines)

    draw_gallery(
        [
            (f'{label} is right more often', [told(i) for i in extremes.better]),
            (f'{baseline} is right more often', [told(i) for i in extremes.worse]),
        ],
        file,
    )
    return (
        f'What {baseline} and {label} predict for images that one gets right and the other '
        f'wrong, over {len(pairs)} seed{"" if len(pairs) == 1 else "s"}'
    )


def _counts(label: str, baseline: str, extremes: 'Extremes', seeds: int, is_class: bool) -> str:
    total = len(extremes.first)
    better, worse = extremes.counts
    over = f', the mean over {seeds} seeds' if seeds > 1 else ''
    how = (
        'by how often they are right, then by the probability of the right class'
        if is_class
        else f'by F1 at score {SCORE_THR}, the mean over the IoU thresholds of the metric'
    )
    shown = ([f'{len(extremes.better)} where {label} is better'] if extremes.better else []) + (
        [f'{len(extremes.worse)} where {baseline} is'] if extremes.worse else []
    )
    return (
        f'Of {total:,} images, {label} is better on {better:,} and {baseline} on {worse:,}; on the '
        f'others they are equal. Images are ranked {how}{over}; shown are the most extreme ones on '
        f'either side, {" and ".join(shown)}.'
    )


def _short(text: str) -> str:
    return text if len(text) <= 16 else f'{text[:15]}…'


@dataclass(frozen=True, eq=False)
class Extremes:
    """Places of images, the largest difference first.

    Attributes:
        better (list[int]): Where the second group is the better one.
        worse (list[int]): Where the first is.
        first (ndarray): Of shape (I,), score of each image, mean over the seeds.
        second (ndarray): Likewise.
        counts (tuple[int, int]): Images, of all, where the second and the first is better.
    """

    better: list[int]
    worse: list[int]
    first: np.ndarray
    second: np.ndarray
    counts: tuple[int, int]


def find_extremes(pairs: Sequence[tuple[ImageResults, ImageResults]], most: int) -> Extremes:
    """Rank images by the difference of their scores, the mean over seeds.

    The same number is taken to either side, whatever is better on the whole, and fewer where one
    side has not as many. Equal differences are ranked by :meth:`ImageResults.margins`, then
    by the order of the images.

    Args:
        pairs (Sequence[tuple[ImageResults, ImageResults]]): First and second group, by seed.
        most (int): Images to each side.
    """
    first, second = (
        np.mean([side.scores() for side in sides], axis=0) for sides in zip_strict(*pairs)
    )
    margin = np.mean([b.margins() - a.margins() for a, b in pairs], axis=0)
    # Sums of other seeds in another order differ in the last bit: that is not a difference.
    difference = np.round(second - first, 9)
    order = np.lexsort((-margin, -difference)), np.lexsort((margin, difference))
    better = [int(i) for i in order[0] if difference[i] > 0]
    worse = [int(i) for i in order[1] if difference[i] < 0]
    return Extremes(better[:most], worse[:most], first, second, (len(better), len(worse)))
