"""A COCO annotation file: reading it, and telling what is wrong with it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from math import isfinite
from typing import Any, NamedTuple

from ...utils.errors import UserError
from ...utils.text import first_few
from .boxes import HUGE
from .coco_lookalikes import lookalike
from .file_kind import decoded, other_kind, shown

__all__ = ['annotation_problems', 'load_annotations', 'root_category']


def load_annotations(path: str, key: str) -> Any:
    """Parse an annotation file; what it says is not looked at.

    It may be in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

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
        with open(path, 'rb') as file:
            data = file.read()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
    try:
        return json.loads(decoded(data))
    except (ValueError, RecursionError) as error:
        raise UserError(_not_json(path, data, error)) from error


def annotation_problems(
    content: Any, path: str, labels: bool = True, evaluated: bool = False
) -> Iterator[tuple[str, str]]:
    """Tell what keeps a file from being a COCO file of object detection.

    It must have the lists ``images`` and ``categories`` and, with ``labels``, ``annotations``,
    each entry with the keys that mmdet reads, whose values must be of the right type and finite.
    Ids are integers, or texts throughout; those of annotations may be anything that can tell them
    apart. What boxes are good for is for :func:`judge_boxes`.

    Args:
        content (Any): What the file holds.
        path (str): The file, for messages.
        labels (bool): Whether it must have annotations (a test set without labels has none).
            Defaults to True.
        evaluated (bool): Whether COCOeval reads it, which needs ``iscrowd`` too. Defaults to
            False.

    Yields:
        tuple[str, str]: The list that is wrong, 'images', 'categories' or 'annotations', and a
        sentence. The list is '' where the file as a whole is something else; nothing follows
        then.
    """
    whole = _problem_of_lists(content, path, labels)
    if whole:
        yield '', whole
        return
    # An unlabeled file may have annotations all the same, and mmdet reads them.
    given = [name for name in LISTS if isinstance(content.get(name), list)]
    wrong = set()
    for name in given:
        for sentence in _problems_of_entries(content[name], name, path, evaluated):
            wrong.add(name)
            yield name, sentence
    for key, name in (('image_id', 'images'), ('category_id', 'categories')):
        if 'annotations' in given and not wrong & {'annotations', name}:
            for sentence in _problems_of_references(content, key, name, path):
                yield 'annotations', sentence


def root_category(content: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The category that Roboflow's exports begin with, which stands for all others.

    It has no supercategory and no annotations, and is the supercategory of others.

    Args:
        content (Mapping): A COCO file without problems.

    Returns:
        Mapping | None: The category, if there is one.
    """
    categories = content['categories']
    above = [category.get('supercategory') for category in categories]
    for category in categories:
        root = category.get('supercategory') == 'none' and category['name'] in above
        if root and all(
            annotation['category_id'] != category['id']
            for annotation in content.get('annotations') or ()
        ):
            return category
    return None


LEAST_ID = -(2**63)


def _is_number(value: Any) -> bool:
    # True is an int; comparing is false for NaN, and right for integers that no float holds.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and -HUGE < value < HUGE


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _is_id(value: Any) -> bool:
    # COCOeval sorts ids in arrays, which hold integers of 64 bits, as tools draw them at random.
    whole = LEAST_ID <= value <= -LEAST_ID - 1 if type(value) is int else _is_whole(value)
    return isinstance(value, str) or whole


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and value in (0, 1)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))


class Value(NamedTuple):
    """What a key of an entry must have as its value.

    Args:
        key (str): The key.
        fits (Callable): Whether a value is right.
        wanted (str): What it must be, for messages.
        remedy (str): What to do about a missing key or a wrong value.
        needed (bool): Whether every entry must have the key. Defaults to True.
    """

    key: str
    fits: Callable[[Any], bool]
    wanted: str
    remedy: str
    needed: bool = True


ID = 'an integer or a text'
SIZE = 'a positive integer', "write the image's size in pixels"
FLAG = '0 or 1', 'write 0, or 1 for a crowd'
LISTS: dict[str, tuple[Value, ...]] = {
    'images': (
        Value('id', _is_id, ID, 'give each image an integer of its own, of at most 64 bits'),
        Value(
            'file_name',
            lambda name: isinstance(name, str) and bool(name.strip()) and '\0' not in name,
            'the name of a file',
            'write it relative to the image folder',
        ),
        Value('height', lambda size: _is_whole(size) and size > 0, *SIZE),
        Value('width', lambda size: _is_whole(size) and size > 0, *SIZE),
    ),
    'categories': (
        Value('id', _is_id, ID, 'give each category an integer of its own, of at most 64 bits'),
        Value(
            'name',
            lambda name: isinstance(name, str) and bool(name.strip()),
            'a text',
            'write the name of the class',
        ),
    ),
    'annotations': (
        Value('id', _is_id, ID, 'give each annotation an integer of its own, of at most 64 bits'),
        Value('image_id', _is_id, ID, 'write the id of an image'),
        Value('category_id', _is_id, ID, 'write the id of a category'),
        Value(
            'bbox',
            _is_box,
            '[x, y, width, height] in finite numbers',
            'correct or remove these annotations',
        ),
        Value('area', _is_number, 'a finite number', 'write the width times the height of the box'),
        Value('ignore', lambda flag: flag is None or _is_flag(flag), *FLAG, needed=False),
        Value('iscrowd', lambda flag: flag is None or _is_flag(flag), *FLAG, needed=False),
    ),
}
CROWD = Value('iscrowd', _is_flag, *FLAG)


def _problem_of_lists(content: Any, path: str, labels: bool) -> str:
    other = lookalike(content)
    if other:
        return f'{path} is {other}.'
    if not isinstance(content, dict):
        return (
            f'{path} holds a {type(content).__name__}, not an object with images, '
            'annotations and categories: it is not in COCO format.'
        )
    wanted = ('images', 'annotations', 'categories') if labels else ('images', 'categories')
    lacking = [name for name in wanted if not isinstance(content.get(name), list)]
    # mmdet reads the annotations of an unlabeled file too, if there are any.
    if not labels and not isinstance(content.get('annotations', []), list):
        lacking.append('annotations')
    if lacking:
        return (
            f'{path} lacks the list{"s" if len(lacking) > 1 else ""} '
            f'{" and ".join(map(repr, lacking))} of the COCO format.'
        )
    for name in ('images', 'categories'):
        if not content[name]:
            return f'{path} lists no {name}: create or download it again.'
    return ''


def _problems_of_entries(
    entries: list[Any], name: str, path: str, evaluated: bool
) -> Iterator[str]:
    values = [CROWD if evaluated and value.key == CROWD.key else value for value in LISTS[name]]
    sound = {value.key for value in values}
    for key, fits, wanted, remedy, needed in values:
        if _all_fit(entries, key, fits, needed):
            continue
        sound.discard(key)
        lacking = [
            i
            for i, entry in enumerate(entries)
            if not isinstance(entry, dict) or (needed and key not in entry)
        ]
        if lacking:
            yield (
                f'{path}: {len(lacking)} of {len(entries)} entries of {name!r} lack the key '
                f'{key!r}, starting with {_place(entries, lacking[0])}: {remedy}.'
            )
            if not isinstance(entries[lacking[0]], dict):
                return
        bad = [i for i, entry in enumerate(entries) if key in entry and not fits(entry[key])]
        if bad:
            yield (
                f'{path}: the {key} of {len(bad)} of {len(entries)} {name} is not {wanted}; the '
                f'first is {shown(entries[bad[0]][key])} ({_place(entries, bad[0])}): {remedy}.'
            )
    if 'id' in sound:
        yield from _problems_of_ids(entries, name, path)


def _all_fit(entries: list[Any], key: str, fits: Callable[[Any], bool], needed: bool) -> bool:
    """Whether all values of a key are right; of a million numbers, by the least and the largest."""
    try:
        values = [entry[key] for entry in entries if needed or key in entry]
    except (KeyError, TypeError):
        return False
    if fits is _is_box and {*map(type, values)} <= {list} and {*map(len, values)} <= {4}:
        values, fits = [*chain.from_iterable(values)], _is_number
    kinds = {*map(type, values)}
    # NaN spoils a sum, as it does not a minimum.
    if kinds == {int} or (
        fits is _is_number and kinds and kinds <= {int, float} and _is_finite(values)
    ):
        return fits(min(values)) and fits(max(values))
    return all(map(fits, values))


def _is_finite(values: list[float]) -> bool:
    try:
        return isfinite(sum(values))
    except OverflowError:  # an integer that no float holds
        return False


def _problems_of_ids(entries: list[dict], name: str, path: str) -> Iterator[str]:
    ids = [entry['id'] for entry in entries]
    texts = [i for i in ids if isinstance(i, str)]
    # Ids of annotations need no order; COCOeval sorts the others.
    if texts and len(texts) < len(ids) and name != 'annotations':
        number = next(i for i in ids if not isinstance(i, str))
        yield (
            f'{path}: {len(texts)} of the {len(ids)} ids of {name!r} are texts, as {texts[0]!r}, '
            f'and the others are integers, as {number!r}: write all as integers.'
        )
    repeated = [i for i, count in Counter(ids).items() if count > 1]
    if repeated:
        yield (
            f'{path}: {len(repeated)} ids occur more than once in {name!r}: '
            f'{first_few(map(shown, repeated))}. Give each entry a unique id.'
        )


def _problems_of_references(content: dict, key: str, name: str, path: str) -> Iterator[str]:
    known = {entry['id'] for entry in content[name]}
    bad = [entry for entry in content['annotations'] if entry[key] not in known]
    if not bad:
        return
    first = bad[0][key]
    start = (
        f'{path}: the {key} of {len(bad)} annotations (the first has id {shown(bad[0]["id"])}) is '
        f'not in {name!r}: '
    )
    twin = _other_spelling(first)
    if twin in known:
        yield (
            f'{start}{shown(first)} ({_type(first)}) against {shown(twin)} ({_type(twin)}). Write '
            'ids in one way, best as integers.'
        )
        return
    values = {entry[key]: None for entry in bad}
    yield f'{start}{first_few(map(shown, values))}. Remove them, or complete {name!r}.'


def _other_spelling(value: Any) -> Any:
    """The integer that a text shows, or the text that shows a number."""
    try:
        return int(value) if isinstance(value, str) else str(int(value))
    except ValueError:
        return None


def _type(value: Any) -> str:
    return 'text' if isinstance(value, str) else 'integer'


def _place(entries: Sequence[Any], index: int) -> str:
    entry = entries[index]
    known = isinstance(entry, dict) and 'id' in entry
    return f'entry {index}' + (f', id {shown(entry["id"])}' if known else '')


def _not_json(path: str, data: bytes, error: Exception) -> str:
    """The sentence for a file that could not be parsed."""
    known = other_kind(data)
    if known:
        kind, remedy = known
        return (
            f'{path} is empty: {remedy}.'
            if kind == 'empty'
            else (f'{path} is not JSON but {kind}: {remedy}.')
        )
    if isinstance(error, UnicodeDecodeError):
        return (
            f'{path} is not JSON: byte {error.start} is not {error.encoding.upper()} text. Create '
            'or download it again.'
        )
    if isinstance(error, json.JSONDecodeError):
        if error.msg == 'Extra data' and _are_lines(data):
            return (
                f'{path} is not JSON but JSON Lines, one value a line: join the lines to one COCO '
                'file.'
            )
        return (
            f'{path} is not valid JSON at line {error.lineno}, column {error.colno}: '
            f'{error.msg}. Is it truncated? Create or download it again.'
        )
    return f'{path} is not JSON that can be read: {error}. Create or download it again.'


def _are_lines(data: bytes) -> bool:
    try:
        return all(isinstance(json.loads(line), (dict, list)) for line in data.split(b'\n', 3)[:2])
    except ValueError:
        return False
