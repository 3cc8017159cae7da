"""Checking a data set for classification in the ImageNet layout: one folder per class."""

import os
from collections.abc import Mapping, Sequence

from .check_coco import joined
from .check_data import DataOptions, register_dataset_check
from .check_images import check_images, some
from .errors import UserError

__all__ = ['check_image_folder']

EXTENSIONS = ('.jpg', '.jpeg', '.png')


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
            f'({", ".join(extensions)}): {some(empty)}. Fill or remove them.'
        )
    wanted = (cfg.get('metainfo') or {}).get('classes')
    if wanted is not None and list(wanted) != names:
        raise UserError(
            f'the class list of {key} does not match the folders of {folder}: the list '
            f'is {some(wanted)}, the folders are {some(names)}; labels are the places '
            'in the sorted list of folders.'
        )
    if options.images:
        check_images(folder, [f'{name}/{file}' for name in names for file in files[name]], folder)
    return names
