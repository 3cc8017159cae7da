"""The boxes of a COCO file: how many are used in training and in evaluation, and why not more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .boxes import CROWD, FEW, IGNORED, NO_AREA, NORMALIZED, UnusedBoxes, box_fault

__all__ = ['CocoBoxes', 'FilteredImages', 'filter_images', 'judge_boxes']


@dataclass
class CocoBoxes:
    """What the boxes of a COCO file are good for.

    Args:
        path (str): The file, for messages.
        images (int): Number of images in it.
        purpose (str): 'training' or 'evaluation', for messages.
        coco_eval (bool): Whether COCOeval reads them.

    Attributes:
        given (Counter[str]): Number of boxes of each class.
        used (Counter[str]): Number of those that are learned from or are to be found.
        unused (UnusedBoxes): The others; in an evaluation by COCOeval those that nothing can find.
        unused_of (dict[str, UnusedBoxes]): The same of each class.
        left_out (UnusedBoxes): Boxes that COCOeval counts neither as found nor as missed.
        normalized (bool): Whether all boxes lie within 0 to 1; one of the whole image would be
            used as one of a pixel.
        notes (list[str]): What may be wrong with the boxes as a whole.
    """

    path: str
    images: int
    purpose: str
    coco_eval: bool
    given: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    unused: UnusedBoxes = field(default_factory=UnusedBoxes)
    unused_of: dict[str, UnusedBoxes] = field(default_factory=dict)
    left_out: UnusedBoxes = field(default_factory=UnusedBoxes)
    normalized: bool = False
    notes: list[str] = field(default_factory=list)

    def errors(self) -> Iterator[str]:
        """Yield a sentence if nothing is left of the boxes, or nothing of those of a class."""
        total = sum(self.given.values())
        if not total:
            yield (
                f'{self.path} lists {self.images} images and no annotation of the classes, so '
                f'there is nothing for {self.purpose}: complete it, or correct ann_file and '
                'metainfo.classes.'
            )
        elif self.normalized:
            yield (
                f'the {total} boxes in {self.path} cannot be used for {self.purpose}: {NORMALIZED}.'
            )
        elif not self.used:
            lost = UnusedBoxes.of([self.unused, self.left_out])
            yield (
                f'none of the {total} boxes in {self.path} can be used for {self.purpose}: {lost}; '
                f'{lost.remedy}.'
            )
        else:
            for name, boxes in self.unused_of.items():
                if self.used[name]:
                    continue
                yield (
                    f'none of the {self.given[name]} boxes of class {name!r} in {self.path} can '
                    f'be used for {self.purpose}: {boxes}; {boxes.remedy}.'
                )

    def parts_lost(self) -> Iterator[str]:
        """Yield a note on boxes that do not count."""
        total = sum(self.given.values())
        lost = 'cannot be found, and lower mAP' if self.coco_eval else 'are not used'
        for boxes, what in ((self.unused, lost), (self.left_out, 'are left out of the evaluation')):
            if boxes:
                remedy = f'; {boxes.remedy}' if boxes.one_habit else ''
                yield f'{len(boxes)} of {total} boxes in {self.path} {what}: {boxes}{remedy}.'


def judge_boxes(
    content: Mapping[str, Any],
    path: str,
    classes: Collection[str],
    purpose: str = 'training',
    coco_eval: bool = False,
) -> CocoBoxes:
    """Find out which boxes of a file count, as mmdet or COCOeval decide it.

    Args:
        content (Mapping): A COCO file without problems.
        path (str): The file, for messages.
        classes (Collection[str]): The class names; other categories are not looked at.
        purpose (str): 'training' or 'evaluation', for messages. Defaults to 'training'.
        coco_eval (bool): Whether COCOeval reads the boxes, instead of mmdet's CocoDataset.
            Defaults to False.

    Returns:
        CocoBoxes: Numbers and notes.
    """
    boxes = CocoBoxes(path, len(content['images']), purpose, coco_eval)
    names = {c['id']: c['name'] for c in content['categories'] if c['name'] in classes}
    sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
    chosen = [a for a in content.get('annotations') or () if a['category_id'] in names]
    habits = _Habits(chosen, [sizes[a['image_id']] for a in chosen])
    boxes.given.update(names[a['category_id']] for a in chosen)
    boxes.used.update(boxes.given)
    for i in habits.doubtful:
        annotation = chosen[i]
        name, box = names[annotation['category_id']], annotation['bbox']
        reason, harmless = _fault(annotation, box, sizes[annotation['image_id']], coco_eval)
        if reason is not None:
            boxes.used[name] -= 1
            counts = (boxes.unused, boxes.unused_of.setdefault(name, UnusedBoxes()))
            for lost in (boxes.left_out,) if harmless else counts:
                lost.add(reason, f'id {annotation["id"]}', box)
    boxes.used = +boxes.used
    boxes.normalized = 0 < habits.largest <= 1 and habits.least >= 0
    boxes.notes = [*habits.notes(path, coco_eval)]
    return boxes


@dataclass(frozen=True)
class FilteredImages:
    """How many images mmdet's CocoDataset keeps.

    Args:
        kept (int): Number of images that are left.
        empty (int): Number of those without annotations of the classes (``filter_empty_gt``).
        small (int): Number of the others that are too small (``min_size``).
    """

    kept: int
    empty: int
    small: int


def filter_images(
    content: Mapping[str, Any], classes: Collection[str], filter_cfg: Mapping[str, Any] | None
) -> FilteredImages:
    """Apply ``filter_cfg`` as mmdet's CocoDataset does where ``test_mode`` is off.

    An image all of whose boxes are unused is not empty: mmdet asks for annotations alone.

    Args:
        content (Mapping): A COCO file without problems.
        classes (Collection[str]): The class names.
        filter_cfg (Mapping, optional): With ``filter_empty_gt`` and ``min_size`` in pixels.

    Returns:
        FilteredImages: Numbers.
    """
    options = filter_cfg or {}
    images, empty = content['images'], 0
    if options.get('filter_empty_gt', False):
        ids = {c['id'] for c in content['categories'] if c['name'] in classes}
        annotations = content.get('annotations') or ()
        annotated = {a['image_id'] for a in annotations if a['category_id'] in ids}
        images = [image for image in images if image['id'] in annotated]
        empty = len(content['images']) - len(images)
    smallest = options.get('min_size', 0)
    kept = sum(min(image['width'], image['height']) >= smallest for image in images)
    return FilteredImages(kept, empty, len(images) - kept)


# Outside these COCOeval leaves a box out of all areas.
LEAST_AREA, LARGEST_AREA = 0, 1e10
BAD_AREA = 'with an area below 0 or above 1e10'


def _fault(
    annotation: Mapping[str, Any], box: list[float], size: tuple[float, float], coco_eval: bool
) -> tuple[str | None, bool]:
    """Why a box does not count, if it does not; and whether not finding it does no harm either."""
    if coco_eval:
        # It overwrites 'ignore' with 'iscrowd'.
        if annotation.get('iscrowd'):
            return CROWD, True
        if not LEAST_AREA <= annotation['area'] <= LARGEST_AREA:
            return BAD_AREA, True
        return box_fault(*box, *size), False
    if annotation.get('ignore'):
        return IGNORED, False
    reason = box_fault(*box, *size)
    if reason is None and annotation['area'] <= 0:
        reason = NO_AREA
    if reason is None and annotation.get('iscrowd'):
        reason = CROWD
    return reason, False


# A rounded box may reach this far out of its image, in pixels.
TOLERANCE = 1.0
# Fewer boxes than this say nothing of what their numbers mean.
MANY = 20


class _Habits:
    """What the boxes of a file have in common that tells of a mistake in writing them.

    Args:
        annotations (Sequence[Mapping]): With a box each; a million of them take seconds.
        sizes (Sequence[tuple[float, float]]): Width and height of the image of each.
    """

    def __init__(
        self, annotations: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[float, float]]
    ) -> None:
        box = np.array([a['bbox'] for a in annotations], dtype=float).reshape(-1, 4)
        size = np.array(sizes, dtype=float).reshape(-1, 2)
        area = np.array([a['area'] for a in annotations], dtype=float)
        (x, y, w, h), (width, height) = box.T, size.T
        marked = np.array([bool(a.get('iscrowd') or a.get('ignore')) for a in annotations], bool)
        begins_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        solid = (w >= 1) & (h >= 1)
        sound = begins_inside & solid & (area > LEAST_AREA) & (area <= LARGEST_AREA) & ~marked
        # Which may be unused, and have to be looked at one by one.
        self.doubtful = np.flatnonzero(~sound)
        right, bottom = width + TOLERANCE, height + TOLERANCE
        outside = (x < -TOLERANCE) | (y < -TOLERANCE) | (x + w > right) | (y + h > bottom)
        self.outside = [annotations[i]['id'] for i in np.flatnonzero(solid & outside)]
        corners = (x < w) & (w <= right) & (y < h) & (h <= bottom)
        self.as_corners = int((solid & corners).sum())
        # The area tells, where it is that of a box between two corners.
        between = np.abs(area - (w - x) * (h - y)) <= 0.01 * area
        other = np.abs(area - w * h) > 0.01 * area
        self.by_area = int((solid & (x < w) & (y < h) & between & other).sum())
        # A segmentation covers a part of its box, but not next to nothing of it.
        odd = solid & ((area > 1.1 * w * h + 1) | (area < w * h / 1000))
        self.areas = [
            f'id {annotations[i]["id"]}: {area[i]:g} for {w[i]:g} x {h[i]:g}'
            for i in np.flatnonzero(odd)
        ]
        self.ignored = [
            annotations[i]['id']
            for i in np.flatnonzero(marked)
            if not annotations[i].get('iscrowd')
        ]
        self.total = len(annotations)
        self.least, self.largest = box.min(initial=np.inf), box.max(initial=0)
        self.end = max((x + w)[solid].max(initial=0), (y + h)[solid].max(initial=0))
        self.side = size[solid].min(initial=np.inf)

    def notes(self, path: str, coco_eval: bool) -> Iterator[str]:
        few = FEW * self.total
        if len(self.outside) > few:
            fit = self.as_corners >= (1 - FEW) * self.total
            yield (
                f'{len(self.outside)} of {self.total} boxes in {path} reach out of their image '
                f'(first id {self.outside[0]}): '
                + (
                    'read as [x1, y1, x2, y2] they would fit, so that is probably what was written '
                    'in place of [x, y, width, height].'
                    if fit
                    else 'is the size of the images right, and was [x1, y1, x2, y2] not written in '
                    'place of [x, y, width, height]?'
                )
            )
        elif self.by_area > max(1, (1 - FEW) * self.total):
            yield (
                f'{self.by_area} of {self.total} boxes in {path} have the area that the file '
                'states if they are read as [x1, y1, x2, y2], so that is probably what was '
                'written in place of [x, y, width, height].'
            )
        if self.total >= MANY and 1 < self.end <= 100 and self.side >= 200:
            yield (
                f'all {self.total} boxes in {path} end within the first 100 pixels of images of '
                f'at least {self.side:g}: are they in percent of the image, and not in pixels?'
            )
        if coco_eval and len(self.areas) > few:
            yield (
                f'the area of {len(self.areas)} of {self.total} boxes in {path} is not that of the '
                f'box ({self.areas[0]}), so mAP_s, mAP_m and mAP_l sort them wrongly: write the '
                'width times the height, or the area of the segmentation.'
            )
        if coco_eval and self.ignored:
            yield (
                f'{len(self.ignored)} of {self.total} boxes in {path} are marked ignore (first '
                f'id {self.ignored[0]}) and are evaluated as all others are: COCOeval leaves out '
                'crowds alone (iscrowd=1).'
            )
