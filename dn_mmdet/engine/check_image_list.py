"""Checking a data set for classification that is an annotation list."""

import os
from collections.abc import Mapping, Sequence

from .check_coco import joined
from .check_data import DataOptions, register_dataset_check
from .check_images import check_images
from .errors import UserError
from .image_list_file import read_image_list

__all__ = ['check_image_list']


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
