"""The class list of a data set against the categories of its COCO file."""

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config

from ...datasets.files.coco import root_category
from ...utils.errors import UserError
from ...utils.text import first_few
from .planned import PlannedDataset, PlannedRun

__all__ = ['alike', 'check_categories', 'class_names']


def class_names(data: PlannedDataset) -> Sequence[str]:
    """The class list of a data set, in the order of the labels.

    Args:
        data (PlannedDataset): Its class has mmengine's ``_load_metainfo``.

    Returns:
        Sequence[str]: The names.

    Raises:
        UserError: They are not a list of different names.
    """
    metainfo = data.cfg.get('metainfo')
    key = f'{data.key}.metainfo'
    if metainfo is not None and not isinstance(metainfo, (Mapping, Config)):
        raise UserError(f'{key} is {metainfo!r}: write metainfo=dict(classes=[...]).')
    given = (metainfo or {}).get('classes')
    if isinstance(given, str) and not os.path.isfile(given):
        raise UserError(
            f'{key}.classes is the string {given!r}, not a list of names: '
            f'write a comma after a single name, classes=({given!r}, ), or give a '
            'file with one name per line.'
        )
    if given is None and 'CLASSES' in (metainfo or {}):
        raise UserError(f'{key} has CLASSES, which is not read: write classes.')
    names = data.cls._load_metainfo(metainfo).get('classes')
    wrong = [name for name in names or () if not isinstance(name, str)]
    if not isinstance(names, (list, tuple)) or not names or wrong:
        what = f'has {wrong[0]!r}, which is no text' if wrong else f'is {names!r}'
        raise UserError(f'{key}.classes {what}: write the names of the classes as a list of texts.')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(
            f'{key}.classes names {len(twice)} classes more than once ({first_few(twice)}): '
            'write each once.'
        )
    return names


def check_categories(
    run: PlannedRun,
    key: str,
    classes: Sequence[str],
    content: Mapping[str, Any],
    path: str,
    complete: bool,
    ordered: bool = False,
) -> None:
    """Check that a file has the categories of a class list, and no others.

    mmdet drops annotations of other categories silently.

    Args:
        run (PlannedRun): Gets what is found.
        key (str): Dotted key of the data set, for messages.
        classes (Sequence[str]): Its class names.
        content (Mapping): The COCO file, whose categories have no problems.
        path (str): The file, for messages.
        complete (bool): Whether a category that the file lacks is an error and not a note.
        ordered (bool): Whether labels follow the order of the file instead of the list. Defaults
            to False.

    Raises:
        UserError: In a run, the first mistake.
    """
    names = [category['name'] for category in _without_root(run, classes, content, path)]
    twice = sorted({name for name in names if name in classes and names.count(name) > 1})
    if twice:
        ids = [c['id'] for c in content['categories'] if c['name'] == twice[0]]
        run.refuse(
            f'{path}: {len(twice)} names occur more than once in {"categories"!r}: '
            f'{first_few(twice)} (the first has the ids {first_few(map(repr, ids))}), so boxes of '
            'one class would have several labels. Give each category its own name, or the '
            'annotations one category_id.'
        )
    missing = [name for name in classes if name not in names]
    extra = [name for name in names if name not in classes]
    near = alike(missing, extra)
    told = [] if run.switches.class_subset else extra
    if told or near or len(missing) == len(classes) or (missing and complete):
        _refuse(
            run,
            key,
            classes,
            path,
            missing,
            told,
            near or _near(missing, extra),
            enough=not near and len(missing) < len(classes) and not (missing and complete),
        )
    elif missing:
        run.note(
            f'{path} lacks {len(missing)} of the {len(classes)} classes of {key} '
            f'({first_few(missing)}).'
        )
    elif ordered:
        _check_order(run, key, classes, [name for name in names if name in classes], path)


def alike(names: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Names of two lists that differ in case, blanks and the like alone.

    Args:
        names (Sequence[str]): Some names.
        others (Sequence[str]): Other names.

    Returns:
        list[tuple[str, str]]: Each of the first that is like one of the second, and that one.
    """
    plain = {_plain(name): name for name in others}
    return [(name, plain[_plain(name)]) for name in names if _plain(name) in plain]


def _without_root(
    run: PlannedRun, classes: Sequence[str], content: Mapping[str, Any], path: str
) -> list[Mapping]:
    categories = content['categories']
    root = root_category(content)
    if root is None:
        return categories
    others = [category for category in categories if category is not root]
    if root['name'] in classes and all(c['name'] != root['name'] for c in others):
        return categories
    run.note(
        f'the category {root["name"]!r} (id {root["id"]!r}) of {path} is left out: it is the root '
        'that Roboflow puts above all others, and has no annotations.'
    )
    return others


def _refuse(
    run: PlannedRun,
    key: str,
    classes: Sequence[str],
    path: str,
    missing: list[str],
    extra: list[str],
    near: list[tuple[str, str]],
    enough: bool,
) -> None:
    """Refuse a file; it is ``enough`` for the rest to leave out what is not in the list."""
    parts = []
    if missing:
        parts.append(f'{_are(missing)} missing in the file ({first_few(missing)})')
    if extra:
        parts.append(f'{_are(extra, " of the file")} not in the list ({first_few(extra)})')
    hints = [f'is {wrong!r} meant to be {right!r}?' for wrong, right in near]
    if list(classes) == list(_coco_classes()):
        hints.append('the list is that of COCO, which is taken where metainfo names no classes.')
    wanted = run.class_list
    foreign = wanted and [name for name in extra if name not in wanted.names]
    if wanted and wanted.source != key and not key.startswith('train') and (foreign or not extra):
        # Another list would be refused, since it is not that of the run.
        remedy = (
            f'Give the categories of the file the names that {wanted.source} has '
            f'({first_few(map(repr, wanted.names), 10)})'
        )
    else:
        remedy = f'Set {key}.metainfo.classes and num_classes of the head to those of the file'
    if extra and enough:
        remedy += '; to leave these out on purpose, set preflight.class_subset=True'
    run.refuse(
        f'the class list of {key} does not match the categories of {path}: '
        f'{", ".join(parts)}. {"".join(f"{hint[0].upper()}{hint[1:]} " for hint in hints[:3])}'
        f'{remedy}.'
    )


def _coco_classes() -> Sequence[str]:
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


def _near(missing: Sequence[str], extra: Sequence[str]) -> list[tuple[str, str]]:
    found = ((name, get_close_matches(name, extra, 1, 0.75)) for name in missing)
    return [(name, near[0]) for name, near in found if near]


def _plain(name: str) -> str:
    return ''.join(filter(str.isalnum, name.casefold())) or name


def _check_order(
    run: PlannedRun, key: str, classes: Sequence[str], order: Sequence[str], path: str
) -> None:
    differing = [i for i, pair in enumerate(zip(classes, order)) if len({*pair}) > 1]
    if differing:
        first = differing[0]
        run.refuse(
            f'the class list of {key} is not in the order of the categories of {path}, '
            f'starting at position {first} ({classes[first]!r} in the list, {order[first]!r} in '
            'the file): labels follow the file, so give the list in the order of the file.'
        )


def _are(names: Sequence[str], where: str = '') -> str:
    return f'{len(names)}{where} {"is" if len(names) == 1 else "are"}'
