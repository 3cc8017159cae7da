"""A folder with a folder of images for each class."""

import os

__all__ = ['class_folders']


def class_folders(folder: str) -> list[str]:
    """Names of the class folders, sorted; a name that begins with a period is none.

    Args:
        folder (str): The folder that they are in.

    Returns:
        list[str]: The names.
    """
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith('.')
    )
