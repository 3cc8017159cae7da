"""Images and boxes that an annotation file has more than once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from ...utils.text import first_few

__all__ = ['repeated_boxes', 'repeated_images']


def repeated_images(content: Mapping[str, Any], path: str) -> tuple[str | None, str | None]:
    """Tell of image files that several entries name.

    Some converters write an entry for each box. The boxes of such an image are then spread over
    samples of it, each of which teaches that the others are background, and an evaluation counts
    them as false in all samples but one.

    Args:
        content (Mapping): A COCO file without problems.
        path (str): The file, for messages.

    Returns:
        tuple[str | None, str | None]: A sentence on files whose entries have different boxes,
        which is a mistake, and one on files whose entries have the same boxes, which is not.
    """
    images = content['images']
    names = {image['id']: os.path.normpath(image['file_name']) for image in images}
    counts = Counter(names.values())
    if len(counts) == len(images):
        return None, None
    boxes: dict[Any, list[tuple]] = {i: [] for i, name in names.items() if counts[name] > 1}
    for annotation in content.get('annotations') or ():
        if annotation['image_id'] in boxes:
            box = annotation['category_id'], *annotation['bbox']
            boxes[annotation['image_id']].append(box)
    kinds: dict[str, set[tuple]] = {}
    for i, own in boxes.items():
        kinds.setdefault(names[i], set()).add(tuple(sorted(own, key=repr)))
    spread = [name for name, found in kinds.items() if len(found) > 1]
    alike = [name for name, found in kinds.items() if len(found) == 1]
    return (
        f'{path}: {len(spread)} image files have several entries in {"images"!r} with different '
        f'boxes ({first_few(spread)}), so each sample of them lacks boxes: give each file one '
        'entry, and all its annotations the id of that.'
        if spread
        else None,
        f'{path} names {len(alike)} image files more than once, with the same boxes each time '
        f'({first_few(alike)}), so they count as often.'
        if alike
        else None,
    )


def repeated_boxes(
    boxes: Sequence[Hashable], place: Callable[[int], str], path: str, share: float = 0.03
) -> Iterator[str]:
    """Tell of boxes that are there more than once, of which an evaluation finds only one.

    Args:
        boxes (Sequence[Hashable]): Image, class and corners of each, as a tuple.
        place (Callable[[int], str]): Tells where the box of an index is, as 'id 900'.
        path (str): The file, for messages.
        share (float): Part of all boxes that may be repetitions. Defaults to 0.03.

    Yields:
        str: A sentence, if there are more.
    """
    number = len(boxes) - len(set(boxes))
    if number <= share * len(boxes):
        return
    seen: set[Hashable] = set()
    first = next(i for i, box in enumerate(boxes) if box in seen or seen.add(box))
    yield (
        f'{number} of {len(boxes)} boxes in {path} repeat another one of the same image and class '
        f'(first {place(first)}), and count as missed in an evaluation: remove them.'
    )
