"""Checking the image files of a data set, as its pipeline loads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import TRANSFORMS

from ...datasets.files.image_file import ImageReader
from ...datasets.files.images import SOME_READER, look_at_images
from ...utils.errors import UserError
from ...utils.text import first_few
from .planned import PlannedDataset
from .registries import config_mistakes

__all__ = ['check_image_files']

# Formats of which mmcv's backends load a whole file without fail, and whether they apply the
# EXIF orientation.
BACKENDS = {
    'cv2': ('OpenCV', ('JPEG', 'PNG'), True),
    'pillow': ('Pillow', ('JPEG', 'PNG'), True),
    'turbojpeg': ('TurboJPEG', ('JPEG',), False),
    'tifffile': ('tifffile', (), False),
}


def check_image_files(
    data: PlannedDataset,
    folder: str,
    names: Sequence[str],
    source: str,
    places: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int] | None] | None = None,
) -> None:
    """Refuse image files that are missing, do not load, or have another size than is stated.

    The files of a folder are opened once for each annotation file that names them, and not at all
    where ``preflight.images=False``, or where the pipeline loads them from elsewhere.

    Args:
        data (PlannedDataset): Gets what is found, through ``run.refuse`` and ``run.note``.
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str], optional): Where it names each, as 'line 3', for the message.
        sizes (Sequence, optional): What it says of the width and height of each, in pixels; None
            for an image it says nothing of. Not looked at where there need be no annotations.

    Raises:
        UserError: In a run, the first that is found.
    """
    if not data.run.switches.images:
        return
    reader = _reader(data)
    if reader is None:
        return
    root = os.path.abspath(data.cfg.get('data_root') or folder)
    if outside := _outside((root, os.path.abspath(folder)), folder, names):
        data.run.refuse(
            f'{source} names {len(outside)} of {len(names)} images outside {root} '
            f'({first_few(outside)}), which a file of annotations has no business with: correct '
            f'the names, or set {data.key}.data_root to a folder that all images lie in.'
        )
        return
    if not data.labels:
        sizes = None
    errors, notes = data.run.files.once(
        f'images as {reader.name} loads them {reader.turns}, {sizes is not None}',
        folder,
        source,
        work=lambda: look_at_images(folder, names, source, places, sizes, reader),
    )
    for sentence in notes:
        data.run.note(sentence)
    for sentence in errors:
        data.run.refuse(sentence)


def _reader(data: PlannedDataset) -> ImageReader | None:
    """What loads the images; None where they are not loaded from local files."""
    from mmcv.transforms import LoadImageFromFile

    for _, step, cls in data.steps:
        if not issubclass(cls, LoadImageFromFile):
            continue
        if any(_elsewhere(step.get(key)) for key in ('backend_args', 'file_client_args')):
            return None
        with config_mistakes(data.run.cfg, f'{cls.__name__} of {data.key}.pipeline'):
            transform = TRANSFORMS.build(step)

        def load(path: str, transform: Any = transform) -> tuple[int, int]:
            height, width = transform.transform({'img_path': path})['img_shape']
            return width, height

        if cls.transform is not LoadImageFromFile.transform:
            return ImageReader(cls.__name__, load, turns=None)
        if transform.imdecode_backend not in BACKENDS:
            raise UserError(
                f'imdecode_backend of {cls.__name__} in {data.key}.pipeline is '
                f'{transform.imdecode_backend!r}: choose one of {", ".join(BACKENDS)}.'
            )
        name, kinds, turns = BACKENDS[transform.imdecode_backend]
        turns = turns and transform.color_type in ('color', 'grayscale')
        return ImageReader(name, load, turns, kinds)
    return SOME_READER


def _outside(roots: Sequence[str], folder: str, names: Sequence[str]) -> list[str]:
    """The names of files outside some folders; a link, which no annotations make, may lead there.

    What is not there is told as any other missing image.
    """
    inside = tuple(os.path.join(root, '') for root in roots)
    paths = {
        name: os.path.abspath(os.path.join(folder, name))
        for name in names
        if name.startswith(('/', '..')) or '/..' in name
    }
    return [
        name
        for name, path in paths.items()
        if not path.startswith(inside) and '\0' not in path and os.path.exists(path)
    ]


def _elsewhere(args: Mapping | None) -> bool:
    return (args or {}).get('backend', 'local') not in ('local', 'disk', 'atomic')
