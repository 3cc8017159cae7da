"""Checking a data set in Pascal VOC's XML: list, XML files, classes, boxes, images, metrics."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from ...datasets.files.coco_repeats import repeated_boxes
from ...datasets.files.voc import (
    VocImage,
    filter_voc_images,
    judge_voc_boxes,
    object_problems,
    read_image_ids,
    read_xml_files,
)
from ...utils.errors import UserError
from ...utils.text import first_few
from .categories import check_categories, class_names
from .coco import is_coco_metric, tell_boxes, tell_filtered
from .data import register_dataset_check
from .images import check_image_files
from .planned import DatasetContent, PlannedDataset

__all__ = ['check_voc']


@register_dataset_check('XMLDataset')
def check_voc(data: PlannedDataset) -> DatasetContent:
    """Check the files of a data set in Pascal VOC's XML, and the metrics that are taken on it.

    Of data on remote storage, and of a class that reads files in its own way, only the class list
    is looked at.

    Returns:
        DatasetContent: Classes, images and boxes.

    Raises:
        UserError: Something is missing or does not fit.
    """
    classes = class_names(data)
    for name in ('data_root', 'ann_file', 'img_subdir', 'ann_subdir'):
        if not isinstance(data.cfg.get(name) or '', str):
            raise UserError(f'{data.key}.{name} is {data.cfg[name]!r}: write one path, as a text.')
    root = data.cfg.get('data_root') or ''
    if _reads_otherwise(data.cls) or data.cfg.get('backend_args') or '://' in str(root):
        return DatasetContent(classes)
    if root and not os.path.isdir(root):
        raise UserError(
            f'the data folder {root} does not exist: make or download the data, or '
            f'point to it with --cfg-options {data.root_option}=FOLDER.'
        )
    path = os.path.join(root, data.cfg.get('ann_file') or '')
    ids = data.run.files.once(
        'ids', path, work=lambda: read_image_ids(path, f'{data.key}.ann_file')
    )
    folder = _folder(data, 'ann_subdir', 'Annotations')
    images, problems = data.run.files.once(
        'xml', path, folder, work=lambda: read_xml_files(path, ids, folder)
    )
    for sentence in problems:
        data.run.refuse(sentence)
    with data.run.going_on():
        _check_twice(data, ids, path)
    with data.run.going_on():
        _check_images(data, images, path)
    files = f'the XML set {path}'
    _check_classes(data, classes, images, files)
    wrong = [*problems, *object_problems(images, classes, folder)]
    for sentence in wrong[len(problems) :]:
        data.run.refuse(sentence)
    with data.run.going_on():
        _check_metrics(data, classes, ids, path)
    if wrong:
        return DatasetContent(classes)
    left = _left(data, classes, images, files)
    boxes = sum(len(image.objects) for image in images)
    return DatasetContent(classes, left, boxes, _used(data, classes, images, files))


def _reads_otherwise(cls: type) -> bool:
    base = next(c for c in cls.__mro__ if c.__name__ == 'XMLDataset')
    names = ('load_data_list', 'parse_data_info', '_parse_instance_info', 'sub_data_root')
    return any(getattr(cls, name) is not getattr(base, name) for name in names)


def _folder(data: PlannedDataset, name: str, default: str) -> str:
    """A folder of the data set, which mmdet looks for below ``data_prefix.sub_data_root``."""
    prefix, inner = data.cfg.get('data_prefix'), data.cfg.get(name, default)
    given = isinstance(prefix, Mapping) and isinstance(prefix.get('sub_data_root'), str)
    folder = os.path.join(data.folder('sub_data_root') if given else '', inner)
    if os.path.isdir(folder):
        return folder
    if not given:
        raise UserError(
            f'{data.key}.data_prefix is {prefix!r}, so mmdet looks for the folder {inner} in the '
            "current folder: write data_prefix=dict(sub_data_root=''), with the folder below "
            f"data_root that {inner} is in, '' for data_root itself."
        )
    what = 'XML files' if name == 'ann_subdir' else 'images'
    raise UserError(
        f'the folder of {what} {folder} does not exist: make or download them, or correct '
        f'{data.key}.data_root, data_prefix.sub_data_root or {name}.'
    )


def _check_twice(data: PlannedDataset, ids: Sequence[str], path: str) -> None:
    seen: set[str] = set()
    twice = [name for name in ids if name in seen or seen.add(name)]
    if not twice:
        return
    count = f'{len(twice)} image{"s" * (len(twice) > 1)}'
    what = f'{path} names {count} more than once: {first_few(dict.fromkeys(twice))}'
    if data.part == 'train':
        data.run.note(f'{what}, which are trained on as often.')
    else:
        data.run.refuse(f'{what}, so their boxes would count as often: name each once.')


def _check_images(data: PlannedDataset, images: Sequence[VocImage], path: str) -> None:
    folder = _folder(data, 'img_subdir', 'JPEGImages')
    if data.run.switches.images:
        _check_suffix(folder, images)
    check_image_files(
        data,
        folder,
        [f'{image.id}.jpg' for image in images],
        path,
        sizes=[image.size for image in images],
    )


def _check_suffix(folder: str, images: Sequence[VocImage]) -> None:
    """mmdet puts .jpg behind every name."""
    present = set(os.listdir(folder))
    stems = {os.path.splitext(name)[0]: name for name in present}
    other = [stems[i.id] for i in images if i.id in stems and f'{i.id}.jpg' not in present]
    if other:
        raise UserError(
            f'{len(other)} of the {len(images)} images in {folder} have another suffix than .jpg, '
            f'the only one that XMLDataset reads: {first_few(other)}. Convert them to JPEG, or '
            'rename them (the format is told from their first bytes).'
        )


def _check_classes(
    data: PlannedDataset, classes: Sequence[str], images: Sequence[VocImage], files: str
) -> None:
    """mmdet drops objects of other classes silently."""
    found = dict.fromkeys(o.name for image in images for o in image.objects if o.name)
    if not found:
        return  # told with the boxes
    content = {'categories': [{'id': i, 'name': name} for i, name in enumerate(found)]}
    check_categories(data.run, data.key, classes, content, files, complete=False)


def _check_metrics(
    data: PlannedDataset, classes: Sequence[str], ids: Sequence[str], path: str
) -> None:
    for key, metric, cls, datasets in data.run.metrics():
        if data not in datasets:
            continue
        if is_coco_metric(cls) and isinstance(metric.get('ann_file'), str):
            _check_coco_ids(data, key, metric, ids, path)
        elif 'VOCMetric' in {c.__name__ for c in getattr(cls, '__mro__', ())}:
            _check_instances(data, key)
            _check_names(data, key, classes)


def _check_coco_ids(
    data: PlannedDataset, key: str, metric: Mapping, ids: Sequence[str], path: str
) -> None:
    if metric.get('backend_args'):
        return
    file = metric['ann_file']
    content, problems = data.run.files.judged_annotations(file, f'{key}.ann_file', evaluated=True)
    if problems:
        return  # told by the check of the metric
    known = {image['id'] for image in content['images']}
    if not known >= set(ids):
        strange = next(name for name in ids if name not in known)
        raise UserError(
            f'{key}.ann_file is {file}, whose images have other ids than those of {path}, as '
            f'{strange!r}: set ann_file=None, and give the true boxes with each image '
            f"('instances' in meta_keys of PackDetInputs in {data.key}.pipeline)."
        )


def _check_instances(data: PlannedDataset, key: str) -> None:
    """VOCMetric compares with the boxes of the samples, which must be those of the whole image."""
    names = [cls.__name__ for _, _, cls in data.steps]
    if 'PackDetInputs' not in names:
        return
    if 'LoadAnnotations' not in names:
        raise UserError(
            f'{key} needs the true boxes with each image: put dict(type="LoadAnnotations", '
            f'with_bbox=True) behind Resize in {data.key}.pipeline.'
        )
    moving = [name for name in names[names.index('LoadAnnotations') :] if name in MOVING]
    if moving:
        raise UserError(
            f'{key} compares predictions in pixels of the whole image with true boxes that '
            f'{moving[0]} has changed: put LoadAnnotations behind {moving[-1]} in '
            f'{data.key}.pipeline.'
        )


def _check_names(data: PlannedDataset, key: str, classes: Sequence[str]) -> None:
    """VOCDataset tells VOCMetric by its folder that the classes are those of Pascal VOC."""
    own = next(
        (c.METAINFO['classes'] for c in data.cls.__mro__ if c.__name__ == 'VOCDataset'), None
    )
    folder = data.folder('sub_data_root')
    if own and tuple(classes) != own and ('VOC2007' in folder or 'VOC2012' in folder):
        raise UserError(
            f'{data.key} is a VOCDataset in {folder}, for which {key} gives the results the names '
            "of Pascal VOC's 20 classes, and these are others: set type=XMLDataset, or rename the "
            'folder.'
        )


# Steps of a test pipeline that change boxes.
MOVING = ('Resize', 'RandomResize', 'RandomChoiceResize', 'FixShapeResize', 'RandomFlip')


def _left(
    data: PlannedDataset, classes: Sequence[str], images: Sequence[VocImage], files: str
) -> int:
    """How many images are left after the filter of the data set."""
    options = data.cfg.get('filter_cfg') or {}
    numbers = [options.get(key, 0) for key in ('min_size', 'bbox_min_size')]
    if not all(isinstance(number, (int, float)) for number in numbers if number is not None):
        raise UserError(
            f'{data.key}.filter_cfg is {options!r}: write dict(filter_empty_gt=True, min_size=32), '
            'with a number of pixels.'
        )
    if data.cfg.get('test_mode'):
        if options.get('bbox_min_size') is not None:
            raise UserError(
                f'{data.key}.filter_cfg.bbox_min_size is for training alone: leave it out.'
            )
        return len(images)
    left = filter_voc_images(images, classes, options)
    tell_filtered(data, left, 'a box', options.get('min_size', 0), files)
    return left.kept


def _used(
    data: PlannedDataset, classes: Sequence[str], images: Sequence[VocImage], files: str
) -> Mapping[str, int] | None:
    """How many boxes of each class count; None where none of the data set do."""
    if not data.labels:
        return None
    purpose = 'training' if data.part == 'train' else 'evaluation'
    smallest = (data.cfg.get('filter_cfg') or {}).get('bbox_min_size')
    boxes = judge_voc_boxes(images, classes, files, purpose, smallest)
    tell_boxes(data, boxes, _repeated(images, files))
    return boxes.used


def _repeated(images: Sequence[VocImage], files: str) -> Iterator[str]:
    once = {image.id: image for image in images}.values()
    objects = [(i.id, o.name, *o.written) for i in once for o in i.objects]
    yield from repeated_boxes(objects, lambda i: f'in {objects[i][0]}.xml', files)
