"""The sizes of images against those that an annotation file states, which its boxes fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...utils.python39 import zip_strict
from ...utils.text import first_few

__all__ = ['SizeMismatch', 'mismatch_cause', 'mismatch_sentence']

# Sides that differ by no more, in pixels and as a share, were rounded differently: the boxes fit.
PIXELS, SHARE = 2, 0.02

CAUSES = ('rounded', 'unturned', 'turned', 'swapped', 'scaled', 'other')


class SizeMismatch(NamedTuple):
    """An image whose size is not the stated one.

    Args:
        name (str): Of the image, for messages.
        stated (tuple[int, int]): Width and height that the annotation file states.
        size (tuple[int, int]): Width and height as loaded.
    """

    name: str
    stated: tuple[int, int]
    size: tuple[int, int]


def mismatch_cause(
    stated: tuple[int, int],
    size: tuple[int, int],
    turned: tuple[int, int] | None,
    turns: bool | None,
) -> str | None:
    """Why an image has another size than is stated.

    Args:
        stated (tuple[int, int]): Width and height that the annotation file states.
        size (tuple[int, int]): Width and height as loaded.
        turned (tuple[int, int], optional): Those with the EXIF orientation treated the other way.
        turns (bool, optional): Whether the EXIF orientation is applied; None is not known.

    Returns:
        str | None: One of :data:`CAUSES`, or None if the size is the stated one.
    """
    if stated == size or (turns is None and stated == turned):
        return None
    if stated == turned:
        return 'unturned' if turns else 'turned'
    if all(abs(a - b) <= min(PIXELS, SHARE * b) for a, b in zip_strict(stated, size)):
        return 'rounded'
    if stated == size[::-1]:
        return 'swapped'
    # One factor for both sides, within what rounding to whole pixels can do.
    (w, h), (width, height) = stated, size
    return 'scaled' if abs(w * height - h * width) <= max(w, h, width, height) else 'other'


def mismatch_sentence(
    cause: str, found: Sequence[SizeMismatch], number: int, folder: str, source: str
) -> str:
    """What to tell of the images that have another size for one cause.

    Args:
        cause (str): One of :data:`CAUSES`.
        found (Sequence[SizeMismatch]): The images, at least one.
        number (int): How many images there are in all.
        folder (str): Where they are.
        source (str): The annotation file.

    Returns:
        str: A sentence.
    """
    count = f'{len(found)} of the {number} images in {folder}'
    first = first_few(
        f'{name} is {"x".join(map(str, size))}, stated {"x".join(map(str, stated))}'
        for name, stated, size in found
    )
    if cause == 'rounded':
        return f'{count} differ from the size in {source} by a pixel or two: {first}.'
    if cause == 'unturned':
        return (
            f'{count} are turned by their EXIF orientation when they are loaded, but {source} '
            f"describes them unturned: {first}. Load them unturned, with color_type='color_ignore_"
            "orientation' for LoadImageFromFile in every pipeline, or turn their boxes"
        )
    if cause == 'turned':
        return (
            f'{count} are described turned as their EXIF orientation says in {source}, but are '
            f"loaded unturned: {first}. Load them with color_type='color' for LoadImageFromFile "
            "and imdecode_backend='cv2'"
        )
    if cause == 'swapped':
        return (
            f'{count} have width and height the other way round than {source} states: {first}. '
            'Swap the two in the file, or turn its boxes if it describes the images turned'
        )
    if cause == 'scaled':
        return (
            f'{count} are {_factors(found)} the size that {source} states, so its boxes do not '
            f'fit: {first}. Use the images that were labeled, or scale the sizes and boxes in the '
            'file'
        )
    stated = {mismatch.stated for mismatch in found}
    everywhere = ' for every one of them' if len(stated) == 1 and len(found) > 1 else ''
    return (
        f'{count} have another size and shape than {source} states{everywhere}, so its boxes do '
        f'not fit: {first}. Use the images that were labeled, or correct the sizes in the file'
    )


def _factors(found: Sequence[SizeMismatch]) -> str:
    # The longer side was rounded least.
    factors = [max(size) / max(stated) for _, stated, size in found]
    low, high = f'{min(factors):.3g}', f'{max(factors):.3g}'
    return f'{low} times' if low == high else f'{low} to {high} times'
