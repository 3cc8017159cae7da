"""Checking a COCO data set of a configuration: folder, annotations, classes, images."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import METRICS

from ...datasets.files.coco import read_annotation_file
from ...datasets.files.images import check_images
from ...utils.errors import UserError
from ...utils.text import first_few
from .config import find_type
from .data import DataOptions, register_dataset_check

__all__ = ['check_coco', 'check_evaluator', 'each_metric', 'joined', 'wants_labels']


@register_dataset_check('CocoDataset')
def check_coco(cfg: Mapping, cls: type, key: str, options: DataOptions) -> Sequence[str] | None:
    """Check the folder, the annotation file, the class list and the images of a CocoDataset.

    Args:
        cfg (Mapping): Configuration of the data set.
        cls (type): Its class.
        key (str): Dotted key of ``cfg`` in the whole configuration.
        options (DataOptions): What to check.

    Returns:
        Sequence[str] | None: The class names; None for a class that reads annotations in its own
        way and for data on remote storage, which are left alone.

    Raises:
        UserError: Something is missing or does not fit.
    """
    root = cfg.get('data_root') or ''
    if _reads_otherwise(cls) or cfg.get('backend_args') or '://' in root:
        return None
    if root and not os.path.isdir(root):
        raise UserError(
            f'the data folder {root} does not exist: make or download the data, or '
            f'point to it with --cfg-options {key}.data_root=FOLDER.'
        )
    path = joined(root, cfg.get('ann_file') or '')
    content = read_annotation_file(path, f'{key}.ann_file', options.labels)
    classes = _classes(cfg, cls, key)
    _check_classes(classes, content['categories'], path, key, options.class_subset)

    folder = joined(root, (cfg.get('data_prefix') or {}).get('img', ''))
    if not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: make or download the images, '
            f'or correct {key}.data_root and {key}.data_prefix.img.'
        )
    if options.images:
        check_images(folder, [image['file_name'] for image in content['images']], path)
    return classes


def joined(root: str, path: str) -> str:
    """A path of a data set as mmengine takes it: relative to the root unless absolute."""
    return os.path.join(root, path) if root else path


def _reads_otherwise(cls: type) -> bool:
    base = next(c for c in cls.__mro__ if c.__name__ == 'CocoDataset')
    return any(
        getattr(cls, name) is not getattr(base, name)
        for name in ('load_data_list', 'parse_data_info', '_join_prefix')
    )


def _classes(cfg: Mapping, cls: type, key: str) -> Sequence[str]:
    given = (cfg.get('metainfo') or {}).get('classes')
    if isinstance(given, str) and not os.path.isfile(given):
        raise UserError(
            f'{key}.metainfo.classes is the text {given!r} and not a list of names: '
            f'write a comma after a single name, classes=({given!r}, ), or give a '
            'file with one name a line.'
        )
    return cls._load_metainfo(cfg.get('metainfo'))['classes']


def _check_classes(
    classes: Sequence[str], categories: list[dict], path: str, key: str, subset: bool
) -> None:
    """The dataset class drops unknown names silently and numbers labels in the file's order."""
    names = [category['name'] for category in categories]
    missing = [name for name in classes if name not in names]
    extra = [] if subset else [name for name in names if name not in classes]
    if missing or extra:
        parts = (
            [f'{len(missing)} are missing in the file ({first_few(missing)})'] if missing else []
        )
        parts += (
            [f'{len(extra)} of the file are not in the list ({first_few(extra)})'] if extra else []
        )
        remedy = (
            '; to leave these out on purpose, set preflight.class_subset=True'
            if extra and not missing
            else ''
        )
        raise UserError(
            f'the class list of {key} does not match the categories of {path}: '
            f'{", ".join(parts)}. Set {key}.metainfo.classes and num_classes of the '
            f'head to those of the file{remedy}.'
        )
    order = [name for name in names if name in classes]
    if list(classes) != order:
        first = next(
            i for i, pair in enumerate(zip(classes, order, strict=True)) if len(set(pair)) > 1
        )
        raise UserError(
            f'the class list of {key} has another order than the categories of {path}, '
            f'from place {first} on ({classes[first]!r} against {order[first]!r}): '
            'labels follow the file, so give the list in the order of the file.'
        )


def check_evaluator(evaluator: Any, key: str, dataset: Any) -> None:
    """Check the ``ann_file`` of every CocoMetric.

    Args:
        evaluator (Mapping | Sequence): ``val_evaluator`` or ``test_evaluator``.
        key (str): Its key, for messages.
        dataset (Mapping): The data set that is evaluated.

    Raises:
        UserError: The file is missing or no COCO annotation file, or does not list the images
            of the data set.
    """
    for at, metric in _coco_metrics(evaluator, key):
        path = metric.get('ann_file')
        if not path or metric.get('backend_args'):
            continue
        labels = not metric.get('format_only', False)
        content = read_annotation_file(path, f'{at}.ann_file', labels, evaluated=labels)
        known = {image['id'] for image in content['images']}
        own = _ann_file(dataset)
        if own is None or os.path.realpath(own) == os.path.realpath(path):
            continue
        images = read_annotation_file(own, 'dataset.ann_file', labels=False)['images']
        unknown = [image['file_name'] for image in images if image['id'] not in known]
        if unknown:
            raise UserError(
                f'{at}.ann_file is {path}, but the images to evaluate come from {own}, and '
                f'{len(unknown)} of them are not in it ({first_few(unknown)}): give '
                'both the same file.'
            )


def wants_labels(evaluator: Any) -> bool:
    """Whether an evaluation compares with annotations, or only writes predictions."""
    return not any(metric.get('format_only') for _, metric in _coco_metrics(evaluator, ''))


def each_metric(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping, type | None]]:
    """Dotted key, configuration and class of every metric of an evaluator."""
    if isinstance(evaluator, Mapping):
        yield key, evaluator, find_type(METRICS, evaluator.get('type'))
    elif isinstance(evaluator, Sequence) and not isinstance(evaluator, str):
        for i, metric in enumerate(evaluator):
            yield from each_metric(metric, f'{key}.{i}')


def _coco_metrics(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    for at, metric, cls in each_metric(evaluator, key):
        bases = cls.__mro__ if isinstance(cls, type) else ()
        base = next((c for c in bases if c.__name__ == 'CocoMetric'), None)
        # A subclass with an evaluation of its own, as LVIS has, reads files of its own.
        if base is not None and cls.compute_metrics is base.compute_metrics:
            yield at, metric


def _ann_file(dataset: Any) -> str | None:
    while isinstance(dataset, Mapping) and isinstance(dataset.get('dataset'), Mapping):
        dataset = dataset['dataset']
    if not isinstance(dataset, Mapping) or not dataset.get('ann_file'):
        return None
    return joined(dataset.get('data_root') or '', dataset['ann_file'])
