"""A COCO annotation file: reading it, and checking that it says what it must."""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from numbers import Real
from typing import Any

from ...utils.errors import UserError
from ...utils.text import first_few

__all__ = ['check_annotations', 'load_annotations']

IMAGE_KEYS = ('id', 'file_name', 'height', 'width')
CATEGORY_KEYS = ('id', 'name')
ANNOTATION_KEYS = ('id', 'image_id', 'category_id', 'bbox', 'area')


def load_annotations(path: str, key: str) -> Any:
    """Parse an annotation file; what it says is not looked at.

    Args:
        path (str): The JSON file.
        key (str): The configuration key that names it, for messages.

    Returns:
        Any: What the file holds.

    Raises:
        UserError: The file is missing or not JSON.
    """
    if not os.path.isfile(path):
        what = 'is a folder' if os.path.isdir(path) else 'does not exist'
        raise UserError(
            f'the annotation file {path} {what}: create or download it, or correct '
            f'{key} in the configuration (or with --cfg-options {key}=PATH).'
        )
    size = os.path.getsize(path) / 2**20
    if size > 100:
        print(f'reading {path} ({size:.0f} MB)', file=sys.stderr, flush=True)
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except json.JSONDecodeError as error:
        raise UserError(
            f'{path} is not valid JSON at line {error.lineno}, column {error.colno}: '
            f'{error.msg}. Is it truncated? Create or download it again.'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is not JSON: byte {error.start} is not UTF-8 text. Create or download it '
            'again.'
        ) from error
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error


def check_annotations(
    content: Any, path: str, labels: bool = True, evaluated: bool = False
) -> None:
    """Check that a file is a COCO file of object detection.

    It must have the lists ``images`` and ``categories`` and, with ``labels``, ``annotations``,
    each entry with the keys that mmdet reads.

    Args:
        content (Any): What the file holds.
        path (str): The file, for messages.
        labels (bool): Whether it must have annotations (a test set without labels has none).
            Defaults to True.
        evaluated (bool): Whether COCOeval reads it, which needs ``iscrowd`` too. Defaults to
            False.

    Raises:
        UserError: It lacks a list or a key, or an annotation names an image or a category that
            the file does not list.
    """
    _check_lists(content, path, labels)
    _check_keys(content['images'], 'images', IMAGE_KEYS, path)
    _check_keys(content['categories'], 'categories', CATEGORY_KEYS, path)
    _check_unique(content['images'], 'images', path)
    if labels:
        keys = (*ANNOTATION_KEYS, 'iscrowd') if evaluated else ANNOTATION_KEYS
        _check_keys(content['annotations'], 'annotations', keys, path)
        _check_unique(content['annotations'], 'annotations', path)
        _check_references(content, path)
        _check_boxes(content['annotations'], path)


def _check_lists(content: Any, path: str, labels: bool) -> None:
    if not isinstance(content, dict):
        raise UserError(
            f'{path} holds a {type(content).__name__}, not an object with images, '
            'annotations and categories: it is not in COCO format.'
        )
    wanted = ('images', 'annotations', 'categories') if labels else ('images', 'categories')
    lacking = [name for name in wanted if not isinstance(content.get(name), list)]
    if lacking:
        raise UserError(
            f'{path} lacks the list{"s" if len(lacking) > 1 else ""} '
            f'{" and ".join(map(repr, lacking))} of the COCO format.'
        )
    if not content['images']:
        raise UserError(f'{path} lists no images: create or download it again.')


def _check_keys(entries: list, name: str, keys: Sequence[str], path: str) -> None:
    for key in keys:
        lacking = [
            i for i, entry in enumerate(entries) if not isinstance(entry, dict) or key not in entry
        ]
        if lacking:
            entry = entries[lacking[0]]
            which = f' (id {entry["id"]})' if isinstance(entry, dict) and 'id' in entry else ''
            raise UserError(
                f'{path}: {len(lacking)} of {len(entries)} entries of {name!r} lack '
                f'the key {key!r}, starting with entry {lacking[0]}{which}: add it to the file.'
            )


def _check_unique(entries: list, name: str, path: str) -> None:
    repeated = [i for i, count in Counter(entry['id'] for entry in entries).items() if count > 1]
    if repeated:
        raise UserError(
            f'{path}: {len(repeated)} ids occur more than once in {name!r}: '
            f'{first_few(repeated)}. Give each entry a unique id.'
        )


def _check_references(content: dict[str, list], path: str) -> None:
    for key, name in (('image_id', 'images'), ('category_id', 'categories')):
        known = {entry['id'] for entry in content[name]}
        bad = [entry for entry in content['annotations'] if entry[key] not in known]
        if bad:
            values = sorted({str(entry[key]) for entry in bad})
            raise UserError(
                f'{path}: the {key} of {len(bad)} annotations (the first has id {bad[0]["id"]}) is '
                f'not in {name!r}: {first_few(values)}. Remove them, or complete {name!r}.'
            )


def _check_boxes(annotations: list[dict], path: str) -> None:
    def is_box(box: Any) -> bool:
        return (
            isinstance(box, list)
            and len(box) == 4
            and all(isinstance(value, Real) for value in box)
        )

    bad = [entry for entry in annotations if not is_box(entry['bbox'])]
    if bad:
        raise UserError(
            f'{path}: the bbox of {len(bad)} annotations is not [x, y, width, height]; '
            f'the first is {bad[0]["bbox"]!r} (id {bad[0]["id"]}): correct them in the file.'
        )
