"""Checking a COCO data set of a configuration: folder, annotations, classes, boxes, images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...datasets.files.coco_boxes import CocoBoxes, FilteredImages, filter_images, judge_boxes
from ...datasets.files.coco_repeats import repeated_boxes, repeated_images
from ...utils.errors import UserError
from ...utils.text import first_few
from .categories import check_categories, class_names
from .data import register_dataset_check
from .images import check_image_files
from .planned import DatasetContent, PlannedDataset

__all__ = ['annotation_path', 'check_coco', 'is_coco_metric', 'tell_boxes', 'tell_filtered']


@register_dataset_check('CocoDataset')
def check_coco(data: PlannedDataset) -> DatasetContent | None:
    """Check the folder, the annotation file, the class list, boxes and images of a CocoDataset.

    Of data on remote storage only the class list is looked at.

    Returns:
        DatasetContent | None: Classes, images and boxes; None for a class that reads annotations
        in its own way, which is left alone.

    Raises:
        UserError: Something is missing or does not fit.
    """
    if _reads_otherwise(data.cls):
        return None
    classes = class_names(data)
    path, root = annotation_path(data), data.cfg.get('data_root')
    if path is None:
        return DatasetContent(classes)
    if root and not os.path.isdir(root):
        raise UserError(
            f'the data folder {root} does not exist: make or download the data, or '
            f'point to it with --cfg-options {data.root_option}=FOLDER.'
        )
    reader = _judged_by(data, path)
    content, problems = data.run.files.judged_annotations(
        path, f'{data.key}.ann_file', data.labels, evaluated=reader == 'COCOeval'
    )
    for _, sentence in problems:
        data.run.refuse(sentence)
    wrong = {name for name, _ in problems}
    if '' in wrong:
        return DatasetContent(classes)
    if 'categories' not in wrong:
        own_api = _differs(data.cls, 'COCOAPI')
        check_categories(
            data.run,
            data.key,
            classes,
            content,
            path,
            complete=own_api or (data.part == 'train' and not data.joined),
            ordered=own_api,
        )
    if 'images' not in wrong:
        with data.run.going_on():
            _check_images(data, content['images'], path)
    if wrong:
        return DatasetContent(classes)
    _check_repeated(data, content, path)
    images = _images(data, classes, content, path)
    boxes = len(content.get('annotations') or ())
    used = None
    if reader and data.labels:
        used = _used(data, classes, content, path, reader == 'COCOeval')
    return DatasetContent(classes, images, boxes, used)


def annotation_path(data: PlannedDataset) -> str | None:
    """The COCO file of a data set.

    Args:
        data (PlannedDataset): The data set, of any class.

    Returns:
        str | None: The file; None if it is on remote storage, or the class reads other files.

    Raises:
        UserError: ``data_root`` or ``ann_file`` is no text, or the latter is missing.
    """
    coco = any(cls.__name__ == 'CocoDataset' for cls in data.cls.__mro__)
    if not coco or _reads_otherwise(data.cls) or data.cfg.get('backend_args'):
        return None
    for name in ('data_root', 'ann_file'):
        if not isinstance(data.cfg.get(name) or '', str):
            raise UserError(f'{data.key}.{name} is {data.cfg[name]!r}: write one path, as a text.')
    root, file = data.cfg.get('data_root') or '', data.cfg.get('ann_file')
    if not file:
        raise UserError(
            f'{data.key}.ann_file is {file!r}: write the name of the annotation file, relative to '
            'data_root.'
        )
    return None if '://' in root else os.path.join(root, file)


def is_coco_metric(cls: type | None) -> bool:
    """Whether a metric reads COCO files as mmdet's CocoMetric does.

    Args:
        cls (type, optional): Class of the metric, if it is known.

    Returns:
        bool: False for a subclass with an evaluation of its own, as LVIS has.
    """
    bases = cls.__mro__ if isinstance(cls, type) else ()
    base = next((c for c in bases if c.__name__ == 'CocoMetric'), None)
    return base is not None and cls.compute_metrics is base.compute_metrics


def tell_filtered(
    data: PlannedDataset, left: FilteredImages, needed: str, smallest: float, files: str
) -> None:
    """Refuse a data set whose filter leaves nothing; note an evaluation that is filtered.

    Args:
        data (PlannedDataset): The data set.
        left (FilteredImages): What ``filter_cfg`` leaves of its images.
        needed (str): What ``filter_empty_gt`` asks for, for messages.
        smallest (float): ``filter_cfg.min_size`` in pixels.
        files (str): What lists the images, for messages.

    Raises:
        UserError: In a run, if nothing is left.
    """
    total = left.kept + left.empty + left.small
    reasons = (
        (left.empty, f'without {needed} of the classes (filter_empty_gt=True)'),
        (left.small, f'smaller than {smallest} pixels (min_size)'),
    )
    numbers = ' and '.join(f'{count} {reason}' for count, reason in reasons if count)
    if not left.kept and (left.small or not data.labels):
        data.refuse_alone(
            f'none of the {total} images of {files} are left after the filter of {data.key}: '
            f'{numbers}. Correct filter_cfg, or complete the annotations.'
        )
    elif left.kept < total and data.part != 'train':
        data.run.note(
            f'{data.key} is filtered, so {total - left.kept} of the {total} images of {files} are '
            f'not evaluated: {numbers}; set test_mode=True to evaluate all.'
        )


def tell_boxes(data: PlannedDataset, boxes: CocoBoxes, repeated: Iterable[str]) -> None:
    """Refuse boxes of which nothing is left; note what is lost and what may be wrong.

    Args:
        data (PlannedDataset): The data set that they are of.
        boxes (CocoBoxes): What they are good for.
        repeated (Iterable[str]): Sentences on boxes that are there twice; looked at where some
            boxes are used.

    Raises:
        UserError: In a run, if nothing is left.
    """
    for sentence in boxes.errors():
        data.refuse_alone(sentence)
    if boxes.used:
        for sentence in (*boxes.parts_lost(), *boxes.notes, *repeated):
            data.run.note(sentence)


def _reads_otherwise(cls: type) -> bool:
    return _differs(cls, 'load_data_list', 'parse_data_info', '_join_prefix')


def _differs(cls: type, *names: str) -> bool:
    """Whether a class has its own instead of what CocoDataset has by these names."""
    base = next(c for c in cls.__mro__ if c.__name__ == 'CocoDataset')
    return any(getattr(cls, name) is not getattr(base, name) for name in names)


def _check_images(data: PlannedDataset, images: Sequence[Mapping], path: str) -> None:
    prefix = data.cfg.get('data_prefix')
    if not isinstance(prefix, Mapping) or not isinstance(prefix.get('img'), str):
        raise UserError(
            f'{data.key}.data_prefix is {prefix!r}: write data_prefix=dict(img=FOLDER), with the '
            "folder of the images below data_root, or '' for data_root itself."
        )
    folder = data.folder('img')
    if not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: make or download the images, '
            f'or correct {data.key}.data_root and {data.key}.data_prefix.img.'
        )
    sizes = [(image['width'], image['height']) for image in images]
    check_image_files(data, folder, [i['file_name'] for i in images], path, sizes=sizes)


def _check_repeated(data: PlannedDataset, content: Mapping[str, Any], path: str) -> None:
    error, note = data.run.files.once(
        'repeated images', path, work=lambda: repeated_images(content, path)
    )
    if note:
        data.run.note(note)
    if error:
        data.run.refuse(error)


def _images(
    data: PlannedDataset, classes: Sequence[str], content: Mapping[str, Any], path: str
) -> int | None:
    """How many images are left after the filter of the data set."""
    options = data.cfg.get('filter_cfg')
    if data.cfg.get('test_mode') or not options:
        return len(content['images'])
    if _differs(data.cls, 'filter_data'):
        return None
    smallest = options.get('min_size', 0) if isinstance(options, Mapping) else None
    if not isinstance(smallest, (int, float)):
        raise UserError(
            f'{data.key}.filter_cfg is {options!r}: write dict(filter_empty_gt=True, min_size=32), '
            'with a number of pixels.'
        )
    left = filter_images(content, classes, options)
    tell_filtered(data, left, 'an annotation', smallest, path)
    return left.kept


def _judged_by(data: PlannedDataset, path: str) -> str:
    """Who reads the boxes of a data set: 'mmdet', 'COCOeval', or '' if a metric has other ones."""
    metrics = [found for found in data.run.metrics() if data.key in [d.key for d in found[3]]]
    files = [m.get('ann_file') for _, m, cls, _ in metrics if is_coco_metric(cls)]
    if any(isinstance(f, str) and os.path.realpath(f) == os.path.realpath(path) for f in files):
        return 'COCOeval'
    return '' if metrics and all(files) and len(files) == len(metrics) else 'mmdet'


def _used(
    data: PlannedDataset,
    classes: Sequence[str],
    content: Mapping[str, Any],
    path: str,
    coco_eval: bool,
) -> Mapping[str, int]:
    """How many boxes of each class count."""
    purpose = 'training' if data.part == 'train' else 'evaluation'
    boxes = judge_boxes(content, path, classes, purpose, coco_eval)
    tell_boxes(data, boxes, _repeated(content, path))
    absent = [name for name in classes if not boxes.given[name]]
    if absent and data.part == 'train':
        data.run.note(
            f'{len(absent)} of the {len(classes)} classes have no boxes in {path} '
            f'({first_few(absent)}), so nothing is learned of them.'
        )
    return boxes.used


def _repeated(content: Mapping[str, Any], path: str) -> Iterator[str]:
    annotations = content['annotations']
    yield from repeated_boxes(
        [(a['image_id'], a['category_id'], *a['bbox']) for a in annotations],
        lambda i: f'id {annotations[i]["id"]}',
        path,
    )
