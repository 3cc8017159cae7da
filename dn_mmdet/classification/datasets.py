"""Data sets of classification: a folder for each class, or a list of paths and labels."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

# The check before a run reads with these too, and so sees what the data set will.
from ..datasets.files.image_folder import class_folders
from ..datasets.files.image_list import read_image_list
from ..datasets.files.images import EXTENSIONS

__all__ = ['ImageFolder', 'ImageList']


@DATASETS.register_module()
class ImageFolder(BaseDataset):
    """A folder of class folders.

    Labels are the places of the folders' names in ``metainfo['classes']``, or else in the sorted
    list of the folders.

    Args:
        data_root (str): Root that ``data_prefix`` is relative to. Defaults to ''.
        data_prefix (dict): ``img_path``, the folder of class folders. Defaults to ``data_root``.
        extensions (Sequence[str]): Suffixes that count as images, lower case. Defaults to
            ('.jpg', '.jpeg', '.png').
        **kwargs: Those of :class:`mmengine.dataset.BaseDataset`.

    Each item is a dict of ``img_path`` (str) and ``gt_label`` (int).

    Raises:
        FileNotFoundError: The folder, or a class's images, are missing.
        ValueError: The name of a folder is not in the class list.
    """

    def __init__(
        self,
        data_root: str = '',
        data_prefix: dict[str, str] = dict(img_path=''),  # noqa: B006 - BaseDataset copies it
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs: Any,
    ) -> None:
        self.extensions = tuple(extensions)
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """List the images, class by class, in sorted order."""
        root = Path(self.data_prefix['img_path'])
        if not root.is_dir():
            raise FileNotFoundError(f'there is no image folder {root}')
        folders = [root / name for name in class_folders(root)]
        if not folders:
            raise FileNotFoundError(f'{root} holds no class folders')
        self._metainfo.setdefault('classes', tuple(p.name for p in folders))
        labels = {name: label for label, name in enumerate(self._metainfo['classes'])}
        items = []
        for folder in folders:
            if folder.name not in labels:
                raise ValueError(f'the class folder {folder} is not in the class list')
            images = sorted(p for p in folder.iterdir() if p.suffix.lower() in self.extensions)
            if not images:
                raise FileNotFoundError(f'the class folder {folder} holds no image')
            items += [dict(img_path=str(p), gt_label=labels[folder.name]) for p in images]
        return items


@DATASETS.register_module()
class ImageList(BaseDataset):
    """A text file with a line ``path label`` for each image.

    The classes are those of ``metainfo``, or else the lines of ``classes.txt`` next to the list,
    in the order of the labels.

    Args:
        ann_file (str): The list. Unlike in other data sets it is *not* joined to ``data_root``,
            since lists are written apart from the images: it is relative to the working directory.
        data_root (str): Folder that ``data_prefix`` is relative to. Defaults to ''.
        data_prefix (dict): ``img_path``, the folder that the paths of the list are relative to.
            Defaults to ``data_root``.
        **kwargs: Those of :class:`mmengine.dataset.BaseDataset`.

    Each item is a dict of ``img_path`` (str) and ``gt_label`` (int).

    Raises:
        UserError: The list, a label or the class names are missing or wrong.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: dict[str, str] = dict(img_path=''),  # noqa: B006 - BaseDataset copies it
        **kwargs: Any,
    ) -> None:
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list, in its order."""
        entries, classes = read_image_list(self.ann_file, self._metainfo)
        self._metainfo['classes'] = tuple(classes)
        root = self.data_prefix['img_path']
        return [
            dict(img_path=os.path.join(root, name), gt_label=label) for _, name, label in entries
        ]

    def _join_prefix(self) -> None:
        ann_file, self.ann_file = self.ann_file, ''
        super()._join_prefix()
        self.ann_file = ann_file
