"""Boxes that a data set gives and that training or evaluation cannot use: counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

__all__ = [
    'CROWD',
    'DIFFICULT',
    'FEW',
    'HUGE',
    'IGNORED',
    'NORMALIZED',
    'NO_AREA',
    'UnusedBoxes',
    'box_fault',
]

# More than this part of all boxes are a habit and not slips.
FEW = 0.03
# More than any size or coordinate, and less than the largest float32.
HUGE = 1e15

# Reasons, in the order in which they are told.
IGNORED = 'marked ignore'
DIFFICULT = 'marked difficult'
NEGATIVE = 'of negative width or height'
EMPTY = 'of zero size'
OUTSIDE = 'outside the image'
THIN = 'less than a pixel wide or high'
NO_AREA = 'with an area of 0 or less'
CROWD = 'crowds'
REASONS = (IGNORED, DIFFICULT, NEGATIVE, EMPTY, OUTSIDE, THIN, NO_AREA, CROWD)

REMEDIES = {
    IGNORED: 'ignore is set: write 0 for objects to learn',
    DIFFICULT: 'difficult is 1: write 0 for objects to learn',
    NEGATIVE: 'x2 lies left of x1, or y2 above y1: order the corners first',
    EMPTY: 'export them again',
    OUTSIDE: 'the coordinates belong to images of another size, or width and height are wrong',
    THIN: 'write them in pixels',
    NO_AREA: 'write the width times the height of the box as its area',
    CROWD: 'iscrowd is 1: write 0 for single objects',
}
NORMALIZED = (
    'all lie within 0 to 1 as normalized boxes do: multiply their numbers by the width and the '
    'height of the image'
)


class UnusedBoxes:
    """Counts unused boxes by reason, and remembers the first of each.

    Its text is '7 of zero size (first id 900), 5 outside the image (first id 12)'.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._within_one = self._zeros = 0

    def add(self, reason: str, where: str, box: Sequence[float]) -> None:
        """Count a box.

        Args:
            reason (str): Why it is not used, in words that go behind a number.
            where (str): Where it is, as 'id 900' or a file name.
            box (Sequence[float]): Its numbers as they are in the file.
        """
        self.counts[reason] += 1
        self._first.setdefault(reason, where)
        if not any(box):
            self._zeros += 1
        elif all(0 <= value <= 1 for value in box):
            self._within_one += 1

    @classmethod
    def of(cls, parts: Iterable[UnusedBoxes]) -> UnusedBoxes:
        """All boxes of several counts."""
        whole = cls()
        for part in parts:
            whole.counts += part.counts
            whole._first = part._first | whole._first
            whole._zeros += part._zeros
            whole._within_one += part._within_one
        return whole

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        known = [reason for reason in REASONS if reason in self.counts]
        return ', '.join(
            f'{self.counts[reason]} {reason} (first {self._first[reason]})'
            for reason in (*known, *(self.counts.keys() - {*REASONS}))
        )

    @property
    def one_habit(self) -> bool:
        """Whether they are many and alike in a way that tells of a mistake in writing them."""
        return len(self) > 1 and (self.remedy in (NORMALIZED, REMEDIES[NO_AREA]))

    @property
    def remedy(self) -> str:
        """What to do where all boxes have one cause that can be recognized."""
        if self._zeros == len(self):
            return (
                'all numbers are 0, so the tool that wrote them lost the boxes: export them again'
            )
        if self._within_one and self._within_one + self._zeros == len(self):
            return NORMALIZED
        if len(self.counts) == 1:
            return REMEDIES.get(next(iter(self.counts)), 'correct them in the file')
        return 'correct them in the file'


def box_fault(x: float, y: float, w: float, h: float, width: float, height: float) -> str | None:
    """Why mmdet's CocoDataset does not use a box, as far as its place and size tell.

    Args:
        x (float): Left side in pixels.
        y (float): Upper side in pixels.
        w (float): Width of the box in pixels.
        h (float): Height of the box in pixels.
        width (float): Width of the image, as the file states it.
        height (float): Height of the image, as the file states it.

    Returns:
        str | None: The reason for :meth:`UnusedBoxes.add`, or None if it is used.
    """
    # The same arithmetic as in mmdet, so that rounding agrees.
    overlap_w = max(0, min(x + w, width) - max(x, 0))
    overlap_h = max(0, min(y + h, height) - max(y, 0))
    if overlap_w * overlap_h != 0 and w >= 1 and h >= 1:
        return None
    if w < 0 or h < 0:
        return NEGATIVE
    if w == 0 or h == 0:
        return EMPTY
    return THIN if w < 1 or h < 1 else OUTSIDE
