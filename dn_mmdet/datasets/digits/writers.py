"""Write the images of one split, and their annotations."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from .coco import add_scene, box_sizes, new_document
from .crops import compose_crop
from .glyphs import Glyphs
from .scenes import compose_scene
from .spec import DigitsSpec

__all__ = ['write_crops', 'write_scenes']

# First numbers of the random streams after the seed, so that no two images share one.
_SCENES, _CROPS = {'train': 0, 'val': 1}, {'train': 2, 'val': 3}


def write_scenes(
    out: Path,
    split: str,
    spec: DigitsSpec,
    glyphs: Glyphs,
    photographs: dict[str, Image.Image],
    advance: Callable[[], object],
) -> dict:
    """Write ``{split}2017/*.jpg`` and ``annotations/instances_{split}2017.json`` below ``out``.

    Args:
        out (Path): Existing folder.
        split (str): ``'train'`` or ``'val'``.
        spec (DigitsSpec): Count, image size and seed.
        glyphs (Glyphs): Digits of the split.
        photographs (dict[str, Image.Image]): Photographs of the split, by name.
        advance (Callable[[], object]): Called after every image.

    Returns:
        dict: Number of ``images``, of ``empty`` ones, of ``digits``, and of these ``small``,
        ``medium`` and ``large``.
    """
    folder = out / f'{split}2017'
    folder.mkdir()
    document = new_document(split, spec.seed)
    for index in range(getattr(spec, split)):
        rng = np.random.default_rng([spec.seed, _SCENES[split], index])
        scene = compose_scene(glyphs, photographs, spec.image_size, rng)
        file_name = f'{index + 1:012d}.jpg'
        _save(scene.image, folder / file_name)
        add_scene(document, scene, file_name)
        advance()
    annotations = out / 'annotations' / f'instances_{split}2017.json'
    annotations.parent.mkdir(exist_ok=True)
    annotations.write_text(json.dumps(document))
    filled = {annotation['image_id'] for annotation in document['annotations']}
    images = len(document['images'])
    return dict(
        images=images,
        empty=images - len(filled),
        digits=len(document['annotations']),
        **box_sizes(document),
    )


def write_crops(
    out: Path,
    split: str,
    spec: DigitsSpec,
    glyphs: Glyphs,
    photographs: dict[str, Image.Image],
    advance: Callable[[], object],
) -> int:
    """Write ``crops/{split}/{0..9}/*.jpg`` below ``out``, and return how many.

    Arguments as in :func:`write_scenes`. The classes take turns, so they are balanced.
    """
    # Every class gets its folder, even if fewer than ten crops are asked for: the sorted names of
    # the folders are the classes.
    folders = [out / 'crops' / split / str(label) for label in range(10)]
    for folder in folders:
        folder.mkdir(parents=True)
    count = getattr(spec, f'crops_{split}')
    for index in range(count):
        rng = np.random.default_rng([spec.seed, _CROPS[split], index])
        crop = compose_crop(glyphs, photographs, index % 10, spec.crop_size, rng)
        _save(crop, folders[index % 10] / f'{index:06d}.jpg')
        advance()
    return count


def _save(image: np.ndarray, file: Path) -> None:
    Image.fromarray(image).save(file, quality=92)
