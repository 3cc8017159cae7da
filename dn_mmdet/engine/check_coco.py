"""Checking a COCO data set of a configuration: folder, annotations, classes, images."""

import os
from collections.abc import Mapping, Sequence

from .annotation_file import read_annotation_file
from .check_data import DataOptions, register_dataset_check
from .check_images import check_images, some
from .errors import UserError

__all__ = ['check_coco', 'joined']


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
        parts = [f'{len(missing)} are missing in the file ({some(missing)})'] if missing else []
        parts += [f'{len(extra)} of the file are not in the list ({some(extra)})'] if extra else []
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
