"""What a run predicts for each image, so that images can be weighted and ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from .matches import DetectionMatches

__all__ = ['SCORE_THR', 'ClassResults', 'DetectionResults', 'ImageResults']

# From which score on a detection is drawn, as in mmdet; an image is judged by what is drawn.
SCORE_THR = 0.3


class ImageResults(Protocol):
    """Predictions of one run.

    Attributes:
        images (tuple): Keys of the I images, in an order that all runs on the data share.
        classes (tuple[str, ...]): Their names.
        dataset (Any): The data set of mmdet or mmengine that shows the images.
    """

    images: tuple
    classes: tuple[str, ...]
    dataset: Any

    def value(self, weights: np.ndarray | None = None) -> float:
        """The metric, each image counted as often as (I,) integers say; by default once."""

    def by_class(self) -> dict[str, float]:
        """The metric of each class, NaN where it has no object or image."""

    def counts(self) -> dict[str, int]:
        """Objects, or images, of each class."""

    def scores(self) -> np.ndarray:
        """How well each image is predicted, of shape (I,): from 0, all wrong, to 1."""

    def margins(self) -> np.ndarray:
        """What ranks images of one score, of shape (I,): the higher the better."""


class DetectionResults:
    """Detections of one run, judged by COCO's average precision.

    Args:
        matches (DetectionMatches): Matches with the ground truth.
        found (Mapping[int, Mapping]): Image id to ``bboxes`` (N, 4), ``labels`` and ``scores``.
        dataset (Any): Data set that shows the images.
    """

    def __init__(self, matches: DetectionMatches, found: Mapping[int, Mapping], dataset: Any):
        self.matches, self.found, self.dataset = matches, found, dataset
        self.images, self.classes = matches.images, tuple(matches.classes)

    def value(self, weights: np.ndarray | None = None) -> float:
        """Mean average precision, 0 to 1."""
        return self.matches.average_precision(weights)

    def by_class(self) -> dict[str, float]:
        """Average precision of each class."""
        return self.matches.class_precision()

    def counts(self) -> dict[str, int]:
        """Objects of each class."""
        return {name: int(found.objects.sum()) for name, found in self.matches.classes.items()}

    def scores(self) -> np.ndarray:
        """F1 of each image at :data:`SCORE_THR`, the mean over the IoU thresholds."""
        return self.matches.f1(SCORE_THR)

    def margins(self) -> np.ndarray:
        """The same: F1 has few ties."""
        return self.scores()


class ClassResults:
    """Predicted classes of one run, judged by the share that is right, in percent.

    Args:
        images (Sequence[str]): Their paths, from the folder on that all lie in.
        labels (ndarray): Of shape (I,), the right classes.
        probabilities (ndarray): Of shape (I, C).
        right (ndarray): Bool of shape (I,), whether the right class is among the k first.
        classes (Sequence[str]): C names.
        dataset (Any): Data set that shows the images, in this order.
    """

    def __init__(
        self,
        images: Sequence[str],
        labels: np.ndarray,
        probabilities: np.ndarray,
        right: np.ndarray,
        classes: Sequence[str],
        dataset: Any,
    ):
        self.images, self.classes, self.dataset = tuple(images), tuple(classes), dataset
        self.labels, self.right = labels, right
        self.predicted = probabilities.argmax(axis=1)
        self.own = probabilities[np.arange(len(labels)), labels]

    def value(self, weights: np.ndarray | None = None) -> float:
        """Accuracy in percent."""
        weights = np.ones(len(self.right)) if weights is None else weights
        return float(100 * (weights @ self.right) / weights.sum())

    def by_class(self) -> dict[str, float]:
        """Accuracy among the images of each class, in percent."""
        own = {name: self.right[self.labels == i] for i, name in enumerate(self.classes)}
        return {
            name: float(100 * hits.mean()) if len(hits) else float('nan')
            for name, hits in own.items()
        }

    def counts(self) -> dict[str, int]:
        """Images of each class."""
        return {name: int((self.labels == i).sum()) for i, name in enumerate(self.classes)}

    def scores(self) -> np.ndarray:
        """1 where it is right, 0 where not."""
        return self.right.astype(float)

    def margins(self) -> np.ndarray:
        """Probability of the right class."""
        return self.own
