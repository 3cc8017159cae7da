"""Checking a COCO data set of a configuration: folder, annotations, classes, images."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...utils.errors import UserError
from ...utils.text import first_few
from .data import register_dataset_check
from .images import check_image_files
from .planned import DatasetContent, PlannedDataset, PlannedRun

__all__ = ['check_coco', 'check_coco_metrics', 'check_voc_classes']


@register_dataset_check('CocoDataset')
def check_coco(data: PlannedDataset) -> DatasetContent | None:
    """Check the folder, the annotation file, the class list and the images of a CocoDataset.

    Of data on remote storage only the class list is looked at.

    Returns:
        DatasetContent | None: The class names; None for a class that reads annotations in its own
        way, which is left alone.

    Raises:
        UserError: Something is missing or does not fit.
    """
    root = data.cfg.get('data_root') or ''
    if _reads_otherwise(data.cls):
        return None
    if data.cfg.get('backend_args') or '://' in root:
        return DatasetContent(_classes(data))
    if root and not os.path.isdir(root):
        raise UserError(
            f'the data folder {root} does not exist: make or download the data, or '
            f'point to it with --cfg-options {data.key}.data_root=FOLDER.'
        )
    path = os.path.join(root, data.cfg.get('ann_file') or '')
    content = data.run.files.annotations(path, f'{data.key}.ann_file', data.labels)
    classes = _classes(data)
    _check_classes(classes, content['categories'], path, data)

    folder = data.folder('img')
    if not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: make or download the images, '
            f'or correct {data.key}.data_root and {data.key}.data_prefix.img.'
        )
    images = content['images']
    sizes = [(image['width'], image['height']) for image in images]
    check_image_files(data, folder, [i['file_name'] for i in images], path, sizes=sizes)
    return DatasetContent(classes)


@register_dataset_check('XMLDataset')
def check_voc_classes(data: PlannedDataset) -> DatasetContent:
    """Read the class list of a data set in Pascal VOC's XML; its files are not checked yet.

    Returns:
        DatasetContent: The class names, whose number the heads must have.

    Raises:
        UserError: The list is a string.
    """
    return DatasetContent(_classes(data))


def check_coco_metrics(run: PlannedRun) -> None:
    """Check the ``ann_file`` of every CocoMetric.

    Raises:
        UserError: The file is missing or not a COCO annotation file, or does not list the images
            of the data set.
    """
    for key, metric, cls, dataset in run.metrics():
        path = metric.get('ann_file')
        if not _is_coco_metric(cls) or not path or metric.get('backend_args'):
            continue
        labels = not metric.get('format_only', False)
        content = run.files.annotations(path, f'{key}.ann_file', labels, evaluated=labels)
        known = {image['id'] for image in content['images']}
        own = _ann_file(dataset)
        if own is None or os.path.realpath(own) == os.path.realpath(path):
            continue
        images = run.files.annotations(own, 'dataset.ann_file', labels=False)['images']
        unknown = [image['file_name'] for image in images if image['id'] not in known]
        if unknown:
            raise UserError(
                f'{key}.ann_file is {path}, but the images to evaluate come from {own}, and '
                f'{len(unknown)} of them are not in it ({first_few(unknown)}): give '
                'both the same file.'
            )


def _reads_otherwise(cls: type) -> bool:
    base = next(c for c in cls.__mro__ if c.__name__ == 'CocoDataset')
    return any(
        getattr(cls, name) is not getattr(base, name)
        for name in ('load_data_list', 'parse_data_info', '_join_prefix')
    )


def _classes(data: PlannedDataset) -> Sequence[str]:
    metainfo = data.cfg.get('metainfo')
    given = (metainfo or {}).get('classes')
    if isinstance(given, str) and not os.path.isfile(given):
        raise UserError(
            f'{data.key}.metainfo.classes is the string {given!r}, not a list of names: '
            f'write a comma after a single name, classes=({given!r}, ), or give a '
            'file with one name per line.'
        )
    return data.cls._load_metainfo(metainfo)['classes']


def _check_classes(
    classes: Sequence[str], categories: list[dict], path: str, data: PlannedDataset
) -> None:
    """The dataset class drops unknown names silently and numbers labels in the file's order."""
    names = [category['name'] for category in categories]
    missing = [name for name in classes if name not in names]
    extra = [name for name in names if name not in classes]
    if data.run.switches.class_subset:
        extra = []
    if missing or extra:
        parts = []
        if missing:
            parts.append(f'{len(missing)} are missing in the file ({first_few(missing)})')
        if extra:
            parts.append(f'{len(extra)} of the file are not in the list ({first_few(extra)})')
        remedy = (
            '; to leave these out on purpose, set preflight.class_subset=True'
            if extra and not missing
            else ''
        )
        raise UserError(
            f'the class list of {data.key} does not match the categories of {path}: '
            f'{", ".join(parts)}. Set {data.key}.metainfo.classes and num_classes of the '
            f'head to those of the file{remedy}.'
        )
    order = [name for name in names if name in classes]
    if list(classes) != order:
        first = next(
            i for i, pair in enumerate(zip(classes, order, strict=True)) if len(set(pair)) > 1
        )
        raise UserError(
            f'the class list of {data.key} is not in the order of the categories of {path}, '
            f'starting at position {first} ({classes[first]!r} in the list, {order[first]!r} in '
            'the file): labels follow the file, so give the list in the order of the file.'
        )


def _is_coco_metric(cls: type | None) -> bool:
    bases = cls.__mro__ if isinstance(cls, type) else ()
    base = next((c for c in bases if c.__name__ == 'CocoMetric'), None)
    # A subclass with an evaluation of its own, as LVIS has, reads files of its own.
    return base is not None and cls.compute_metrics is base.compute_metrics


def _ann_file(dataset: Any) -> str | None:
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    if not isinstance(dataset, Mapping) or not dataset.get('ann_file'):
        return None
    return os.path.join(dataset.get('data_root') or '', dataset['ann_file'])
