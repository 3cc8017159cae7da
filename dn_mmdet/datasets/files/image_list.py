"""An annotation list of images, ``path label`` a line, and its list of classes: reading them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from ...utils.errors import UserError
from ...utils.text import first_few
from .file_kind import decoded, other_kind
from .images import EXTENSIONS

__all__ = ['read_image_list']

CLASSES = 'classes.txt'
HOW = 'tools/dataset_converters/imagenet100.py writes such lists'


def read_image_list(
    path: str, metainfo: Mapping | None = None, key: str = 'ann_file'
) -> tuple[list[tuple[int, str, int]], Sequence[str]]:
    """Read a list whose lines are an image's path, a space, and its label.

    A path may hold spaces: the label is what follows the last one. Empty lines do not count.

    Args:
        path (str): The list, a text file in UTF-8 or UTF-16.
        metainfo (Mapping, optional): With ``classes``, the names in the order of the labels.
            Without them they are the lines of ``classes.txt`` next to the list.
        key (str): The configuration key that names the list, for messages. Defaults to
            'ann_file'.

    Returns:
        tuple[list[tuple[int, str, int]], Sequence[str]]: Number of the line (from 1), path and
        label of each image; and the class names.

    Raises:
        UserError: The list or its classes are missing or empty, or lines of it are wrong; counts
            these and names the first few.
    """
    if not os.path.isfile(path):
        what = 'is a folder' if path and os.path.isdir(path) else 'does not exist'
        raise UserError(
            f'the annotation list {path!r} {what}: make it ({HOW}), or correct {key}, '
            'which is relative to the working directory and not to data_root.'
        )
    classes = _classes(path, metainfo or {}, key)
    entries, wrong = [], []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        name, label, mistake = _parse(line, len(classes))
        if mistake:
            wrong.append(f'line {number} ({line.strip()!r}) {mistake}')
        else:
            entries.append((number, name, label))
    if wrong:
        raise UserError(
            f'{len(wrong)} of the {len(wrong) + len(entries)} lines of {path} are '
            f'wrong: {first_few(wrong)}. Each must be a path, a space and a label: correct '
            f'them, or make the list again ({HOW}).'
        )
    if not entries:
        raise UserError(
            f'the annotation list {path} is empty: make it again ({HOW}), or correct {key}.'
        )
    return entries, classes


def _classes(path: str, metainfo: Mapping, key: str) -> Sequence[str]:
    source = 'metainfo.classes'
    names = metainfo.get('classes')
    if names is None:
        source = os.path.join(os.path.dirname(path), CLASSES)
        if not os.path.isfile(source):
            raise UserError(
                f'the classes of {path} are not known: put {source} next to it, with '
                f'one name per line in the order of the labels ({HOW}), or give '
                f'metainfo=dict(classes=[...]) next to {key}.'
            )
        lines = (line.partition('#')[0].strip() for line in _lines(source))
        names = [line for line in lines if line]
    if not names or isinstance(names, str):
        raise UserError(f'{source} is {names!r}, not a list of class names ({key}).')
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise UserError(
            f'{source} names {len(twice)} classes more than once: {first_few(twice)} ({key}).'
        )
    return names


def _parse(line: str, classes: int) -> tuple[str, int, str]:
    """Path, label, and what is wrong with the line, if anything."""
    parts = line.strip().rsplit(maxsplit=1)
    if len(parts) < 2:
        return '', 0, 'has no label'
    name, text = parts
    try:
        label = int(text)
    except ValueError:
        # The last word of a line without a label is the end of its path.
        bare = text.lower().endswith(EXTENSIONS)
        mistake = 'has no label' if bare else f'has the label {text!r}, which is not an integer'
        return name, 0, mistake
    if not 0 <= label < classes:
        return name, label, f'has a label outside 0 to {classes - 1}, the {classes} classes'
    return name, label, ''


def _lines(path: str) -> list[str]:
    try:
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    kind, remedy = other_kind(data) or ('empty', '')
    # Names of images may look like lines of these.
    if kind not in ('empty', 'a YOLO label file', 'a YAML file'):
        raise UserError(f'{path} is {kind}, not a list in plain text: {remedy}.')
    try:
        return decoded(data).splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is not text: byte {error.start} is not {error.encoding.upper()}. Make it '
            f'again ({HOW}).'
        ) from error
