"""COCO's matches of detections and objects, kept by image, so that images can be weighted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ...utils.python39 import zip_strict

if TYPE_CHECKING:
    from pycocotools.coco import COCO

__all__ = ['DetectionMatches', 'match_detections']


@dataclass(frozen=True, eq=False)
class _ClassMatches:
    """One class: N detections, highest score first, and T IoU thresholds.

    Attributes:
        image (ndarray): Of shape (N,), the place of each detection's image.
        score (ndarray): Of shape (N,).
        hits (ndarray): Of shape (T, L), places of the right detections; filled up with N - 1.
        hit_image (ndarray): Of shape (T, L), their images; filled up with I, which is not an image.
        skips (ndarray): Of shape (T, M), places of those that are neither right nor wrong: of a
            crowd, or of another size.
        skip_image (ndarray): Of shape (T, M), their images.
        skipped (ndarray): Of shape (T, L), how many of the latter stand before each of the former.
        objects (ndarray): Of shape (I,), objects to be found in each image.
    """

    image: np.ndarray
    score: np.ndarray
    hits: np.ndarray
    hit_image: np.ndarray
    skips: np.ndarray
    skip_image: np.ndarray
    skipped: np.ndarray
    objects: np.ndarray


class DetectionMatches:
    """Which detections of one model are right, for every image, class and IoU threshold.

    Matching needs pycocotools once; the average precision of images that are drawn again and
    again is then a few sums. (It is an accumulation like that of ``COCOeval.accumulate``, with
    each image counted as often as it was drawn, and no evaluation of its own.)

    With 500 images, 10 classes and 21,000 detections one average precision takes about 1 ms on
    one core; with COCO's 5,000 images, 80 classes and 450,000 detections about 15 ms, and 15 MB
    are held. Matching them, which is done once, takes as long and as much memory as any
    evaluation by pycocotools.

    Args:
        images (Sequence[int | str]): COCO ids of the I images, in ascending order.
        classes (Mapping[str, _ClassMatches]): By name.
        recalls (ndarray): Recalls at which precision is averaged.
    """

    def __init__(
        self, images: Sequence[int | str], classes: Mapping[str, _ClassMatches], recalls: np.ndarray
    ):
        self.images = tuple(images)
        self.classes = dict(classes)
        self.recalls = recalls

    def class_precision(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Average precision of each class, NaN where no image that counts has an object of it.

        Args:
            weights (ndarray, optional): Integers of shape (I,), how often each image
                counts. Defaults to once.
        """
        weights = np.ones(len(self.images), np.int64) if weights is None else weights
        return {
            name: _precision(found, weights, self.recalls) for name, found in self.classes.items()
        }

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """COCO's mAP: mean over the classes with an object; NaN without any."""
        values = [value for value in self.class_precision(weights).values() if not np.isnan(value)]
        return float(np.mean(values)) if values else float('nan')

    def f1(self, score_thr: float) -> np.ndarray:
        """How well each image is detected at a score at which detections are shown.

        Args:
            score_thr (float): Detections below it count as not made.

        Returns:
            ndarray: Of shape (I,), twice the right detections over detections and objects, the
            mean over the IoU thresholds; 1 where there is nothing and nothing was found.
        """
        size = len(self.images)
        right, of = 0, 0
        for found in self.classes.values():
            shown = found.score >= score_thr
            right, skipped = (
                before
                + np.array(
                    [
                        _count(image[shown[place]], size)
                        for place, image in zip_strict(places, images)
                    ]
                )
                for before, places, images in (
                    (right, found.hits, found.hit_image),
                    (0, found.skips, found.skip_image),
                )
            )
            of = of + _count(found.image[shown], size) - skipped + found.objects
        return np.where(of > 0, 2 * right / np.maximum(of, 1), 1.0).mean(axis=0)


def match_detections(
    coco: COCO,
    detections: Sequence[Mapping],
    categories: Mapping[int | str, str],
    area: str = 'all',
    max_per_image: int = 100,
    thresholds: Sequence[float] | None = None,
) -> DetectionMatches:
    """Let pycocotools match detections with objects, and keep what it found by image.

    Args:
        coco (COCO): The ground truth; all of its images count.
        detections (Sequence[Mapping]): COCO results: ``image_id``, ``category_id``, ``bbox``
            (x, y, width, height) and ``score``.
        categories (Mapping[int | str, str]): Id to name of the classes that are evaluated.
        area (str): 'all', 'small', 'medium' or 'large', the size of objects. Defaults to 'all'.
        max_per_image (int): Detections of a class and image that count. Defaults to 100.
        thresholds (Sequence[float], optional): Of IoU. Defaults to COCO's 0.5 to 0.95.
    """
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(StringIO()):  # it tells that it begins and ends
        # loadRes takes no empty list, and adds to the dicts of one that it takes.
        results = (
            coco.loadRes([dict(found) for found in detections]) if detections else type(coco)()
        )
        evaluation = COCOeval(coco, results, 'bbox')
        params = evaluation.params
        params.catIds = sorted(categories)
        params.maxDets = [max_per_image]
        params.areaRng = [params.areaRng[params.areaRngLbl.index(area)]]
        if thresholds is not None:
            params.iouThrs = np.asarray(thresholds, dtype=float)
        evaluation.evaluate()
    images = np.asarray(params.imgIds).tolist()  # ids may be texts
    count = len(images)
    return DetectionMatches(
        images,
        {
            categories[category]: _class_matches(
                evaluation.evalImgs[k * count : (k + 1) * count], len(params.iouThrs)
            )
            for k, category in enumerate(params.catIds)
        },
        params.recThrs,
    )


def _class_matches(entries: Sequence[Mapping[str, Any] | None], rows: int) -> _ClassMatches:
    size = len(entries)
    found = [(i, entry) for i, entry in enumerate(entries) if entry is not None]
    objects = np.zeros(size, np.int64)
    for i, entry in found:
        objects[i] = np.count_nonzero(np.asarray(entry['gtIgnore']) == 0)
    image = np.array([i for i, entry in found for _ in entry['dtScores']], dtype=np.int32)
    score = np.array([score for _, entry in found for score in entry['dtScores']], dtype=float)
    # As COCOeval.accumulate: a stable order, so that equal scores stay in the order of images.
    order = np.argsort(-score, kind='mergesort')
    matched, ignored = (
        np.concatenate([np.zeros((rows, 0)), *(entry[key] for _, entry in found)], axis=1)[:, order]
        != 0
        for key in ('dtMatches', 'dtIgnore')
    )
    image, score = image[order], score[order]
    hits, hit_image = _places(matched & ~ignored, image, size)
    skips, skip_image = _places(ignored, image, size)
    skipped = np.take_along_axis(np.cumsum(ignored, axis=1, dtype=np.int32), hits, axis=1)
    return _ClassMatches(image, score, hits, hit_image, skips, skip_image, skipped, objects)


def _places(mask: np.ndarray, image: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the rows of a mask are true, and the images there, filled up to one length."""
    most = int(mask.sum(axis=1).max(initial=0))
    places = np.full((len(mask), most), max(len(image) - 1, 0), dtype=np.int32)
    images = np.full((len(mask), most), size, dtype=np.int32)
    for t, row in enumerate(mask):
        found = np.flatnonzero(row)
        places[t, : len(found)], images[t, : len(found)] = found, image[found]
    return places, images


def _precision(found: _ClassMatches, weights: np.ndarray, recalls: np.ndarray) -> float:
    """The area under the envelope of precision over recall, as COCO samples it."""
    count = int(weights @ found.objects)
    if count == 0:
        return float('nan')
    rows, most = found.hits.shape
    if most == 0:
        return 0.0
    weights = np.append(weights, 0)  # of what rows are filled up with
    hits = np.cumsum(weights[found.hit_image], axis=1)
    made = np.cumsum(weights[found.image])[found.hits]
    if found.skips.size:
        skipped = np.cumsum(weights[found.skip_image], axis=1)
        made -= np.where(
            found.skipped > 0,
            np.take_along_axis(skipped, np.maximum(found.skipped - 1, 0), axis=1),
            0,
        )
    precision = np.zeros((rows, most + 1))
    np.divide(hits, made, out=precision[:, :most], where=made > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Recall reaches a value where so many objects are found, counted in the same floats as COCO.
    needed = np.searchsorted(np.arange(count + 1) / count, recalls, side='left')
    # One search for all thresholds: each row's counts lie above those of the row before.
    step = (count + 2) * np.arange(rows)[:, None]
    places = np.searchsorted((hits + step).ravel(), (needed + step).ravel(), side='left')
    places = places.reshape(rows, -1) - most * np.arange(rows)[:, None]
    return float(np.take_along_axis(envelope, places, axis=1).mean())


def _count(images: np.ndarray, size: int) -> np.ndarray:
    """How often each image occurs; the place after the last one is not an image."""
    return np.bincount(images, minlength=size + 1)[:size]
