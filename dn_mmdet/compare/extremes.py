"""The images on which two groups differ most, to either side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .image_results import ImageResults

__all__ = ['Extremes', 'find_extremes']


@dataclass(frozen=True, eq=False)
class Extremes:
    """Places of images, the largest difference first.

    Attributes:
        better (list[int]): where the second group is the better one.
        worse (list[int]): where the first is.
        first (ndarray): (I,), score of each image, mean over the seeds; second (ndarray): likewise.
        counts (tuple[int, int]): images, of all, where the second and the first is better.
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
        pairs (Sequence[tuple[ImageResults, ImageResults]]): first and second group, by seed.
        most (int): images to each side.
    """
    first, second = (
        np.mean([side.scores() for side in sides], axis=0) for sides in zip(*pairs, strict=True)
    )
    margin = np.mean([b.margins() - a.margins() for a, b in pairs], axis=0)
    # Sums of other seeds in another order differ in the last bit: that is no difference.
    difference = np.round(second - first, 9)
    order = np.lexsort((-margin, -difference)), np.lexsort((margin, difference))
    better = [int(i) for i in order[0] if difference[i] > 0]
    worse = [int(i) for i in order[1] if difference[i] < 0]
    return Extremes(better[:most], worse[:most], first, second, (len(better), len(worse)))
