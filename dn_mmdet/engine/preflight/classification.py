"""Checking a data set for classification in the ImageNet layout: one folder per class."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ...datasets.files.image_list import read_image_list
from ...datasets.files.images import EXTENSIONS, check_images
from ...utils.errors import UserError
from ...utils.text import first_few
from .coco import each_metric, joined
from .data import DataOptions, register_dataset_check

__all__ = ['check_image_folder', 'check_image_list', 'check_top_k']


@register_dataset_check('ImageFolder')
def check_image_folder(cfg: Mapping, cls: type, key: str, options: DataOptions) -> Sequence[str]:
    """Check that the folder is there, that no class is empty, and the image files.

    Args:
        cfg (Mapping): Configuration of the data set.
        cls (type): Its class.
        key (str): Dotted key of ``cfg`` in the whole configuration.
        options (DataOptions): What to check.

    Returns:
        Sequence[str]: The class names, which are the names of the folders.

    Raises:
        UserError: Something is missing or does not fit.
    """
    prefix = cfg.get('data_prefix') or ''
    folder = joined(
        cfg.get('data_root') or '',
        prefix.get('img_path', '') if isinstance(prefix, Mapping) else prefix,
    )
    if not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: make or download the data, or '
            f'point to it with --cfg-options {key}.data_root=FOLDER.'
        )
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    if not names:
        raise UserError(
            f'{folder} holds no class folders: it must have one folder per class, '
            f'with the images of the class in it ({key}).'
        )
    extensions = tuple(cfg.get('extensions') or EXTENSIONS)
    files = {
        name: [
            file
            for file in sorted(os.listdir(os.path.join(folder, name)))
            if file.lower().endswith(extensions)
        ]
        for name in names
    }
    empty = [name for name in names if not files[name]]
    if empty:
        raise UserError(
            f'{len(empty)} of the {len(names)} class folders of {folder} hold no image '
            f'({", ".join(extensions)}): {first_few(empty)}. Fill or remove them.'
        )
    wanted = (cfg.get('metainfo') or {}).get('classes')
    if wanted is not None and list(wanted) != names:
        raise UserError(
            f'the class list of {key} does not match the folders of {folder}: the list '
            f'is {first_few(wanted)}, the folders are {first_few(names)}; labels are the places '
            'in the sorted list of folders.'
        )
    if options.images:
        check_images(folder, [f'{name}/{file}' for name in names for file in files[name]], folder)
    return names


@register_dataset_check('ImageList')
def check_image_list(cfg: Mapping, cls: type, key: str, options: DataOptions) -> Sequence[str]:
    """Check the list, line by line, the classes, the folder, and the image files.

    Args:
        cfg (Mapping): Configuration of the data set.
        cls (type): Its class.
        key (str): Dotted key of ``cfg`` in the whole configuration.
        options (DataOptions): What to check.

    Returns:
        Sequence[str]: The class names.

    Raises:
        UserError: Something is missing or does not fit; names the file and the lines.
    """
    path = str(cfg.get('ann_file') or '')
    metainfo = cls._load_metainfo(cfg.get('metainfo'))
    entries, classes = read_image_list(path, metainfo, f'{key}.ann_file')
    prefix = cfg.get('data_prefix') or ''
    folder = joined(
        cfg.get('data_root') or '',
        prefix.get('img_path', '') if isinstance(prefix, Mapping) else prefix,
    )
    if folder and not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: link or download the images, '
            f'or point to them with --cfg-options {key}.data_root=FOLDER.'
        )
    if options.images:
        check_images(
            folder,
            [name for _, name, _ in entries],
            path,
            [f'line {number}' for number, _, _ in entries],
        )
    return classes


def check_top_k(evaluator: Any, key: str, model: nn.Module) -> None:
    """Check ``topk`` of every TopKAccuracy, which would only be seen after the first epoch.

    Args:
        evaluator (Mapping | Sequence): ``val_evaluator`` or ``test_evaluator``.
        key (str): Its key, for messages.
        model (nn.Module): Has ``num_classes`` where it is a classifier.

    Raises:
        UserError: A k is below 1 or above the number of classes.
    """
    classes = getattr(model, 'num_classes', None)
    for at, metric, cls in each_metric(evaluator, key):
        if getattr(cls, '__name__', '') != 'TopKAccuracy' or not isinstance(classes, int):
            continue
        values = metric.get('topk', (1, 5))
        values = tuple(values) if isinstance(values, Sequence) else (values,)
        if not all(1 <= k <= classes for k in values):
            raise UserError(
                f'{at}.topk is {values} and the model has {classes} classes: each must lie '
                f'between 1 and {classes}, as with --cfg-options {at}.topk="[1]".'
            )
