"""Checking a data set for classification: class folders as in ImageNet, or an annotation list."""

import os
from collections.abc import Sequence

from ...datasets.files.image_folder import class_folders
from ...datasets.files.image_list import read_image_list
from ...datasets.files.images import EXTENSIONS
from ...utils.errors import UserError
from ...utils.text import first_few
from .data import register_dataset_check
from .images import check_image_files
from .planned import DatasetContent, PlannedDataset, PlannedRun

__all__ = ['check_image_folder', 'check_image_list', 'check_top_k']


@register_dataset_check('ImageFolder')
def check_image_folder(data: PlannedDataset) -> DatasetContent:
    """Check that the folder is there, that no class is empty, and the image files.

    Returns:
        DatasetContent: The class names, of the class list or else of the folders, and how many
        images.

    Raises:
        UserError: Something is missing or does not fit.
    """
    folder = data.folder('img_path')
    if not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: make or download the data, or '
            f'point to it with --cfg-options {data.root_option}=FOLDER.'
        )
    names = class_folders(folder)
    if not names:
        raise UserError(
            f'{folder} contains no class folders: it must have one folder per class, '
            f'with the images of the class in it ({data.key}).'
        )
    extensions = tuple(data.cfg.get('extensions') or EXTENSIONS)
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
            f'{len(empty)} of the {len(names)} class folders of {folder} contain no images '
            f'({", ".join(extensions)}): {first_few(empty)}. Fill or remove them.'
        )
    classes = data.cls._load_metainfo(data.cfg.get('metainfo')).get('classes', names)
    foreign = [name for name in names if name not in classes]
    if foreign:
        raise UserError(
            f'{len(foreign)} of the {len(names)} class folders of {folder} are not in the class '
            f'list of {data.key} ({first_few(foreign)}), whose names are {first_few(classes)}: '
            f'rename or remove them, or correct {data.key}.metainfo.classes.'
        )
    without = [name for name in classes if name not in names]
    if without:
        sentence = (
            f'{len(without)} of the {len(classes)} classes of {data.key} have no folder in '
            f'{folder} ({first_few(without)})'
        )
        # One of several parts of the training data need not have all classes.
        if data.key == 'train_dataloader.dataset':
            raise UserError(f'{sentence}: add these, or correct {data.key}.metainfo.classes.')
        data.run.note(f'{sentence}.')
    inside = [f'{name}/{file}' for name in names for file in files[name]]
    check_image_files(data, folder, inside, folder)
    return DatasetContent(classes, sum(map(len, files.values())))


@register_dataset_check('ImageList')
def check_image_list(data: PlannedDataset) -> DatasetContent:
    """Check the list, line by line, the classes, the folder, and the image files.

    Returns:
        DatasetContent: The class names, and how many images.

    Raises:
        UserError: Something is missing or does not fit; names the file and the lines.
    """
    path = str(data.cfg.get('ann_file') or '')
    metainfo = data.cls._load_metainfo(data.cfg.get('metainfo'))
    entries, classes = read_image_list(path, metainfo, f'{data.key}.ann_file')
    folder = data.folder('img_path')
    if folder and not os.path.isdir(folder):
        raise UserError(
            f'the image folder {folder} does not exist: link or download the images, '
            f'or point to them with --cfg-options {data.root_option}=FOLDER.'
        )
    check_image_files(
        data,
        folder,
        [name for _, name, _ in entries],
        path,
        [f'line {number}' for number, _, _ in entries],
    )
    return DatasetContent(classes, len(entries))


def check_top_k(run: PlannedRun) -> None:
    """Check ``topk`` of every TopKAccuracy, which would only be seen after the first epoch.

    Raises:
        UserError: A k is below 1 or above the number of classes of the model.
    """
    classes = getattr(run.model, 'num_classes', None)
    for key, metric, cls, _ in run.metrics():
        if getattr(cls, '__name__', '') != 'TopKAccuracy' or not isinstance(classes, int):
            continue
        values = metric.get('topk', (1, 5))
        values = tuple(values) if isinstance(values, Sequence) else (values,)
        if not all(1 <= k <= classes for k in values):
            raise UserError(
                f'{key}.topk is {values}, but the model has {classes} classes: each must lie '
                f'between 1 and {classes}, for example with --cfg-options {key}.topk="[1]".'
            )
