"""COCO annotations of the scenes."""

from ...utils.python39 import zip_strict
from .photographs import PHOTOGRAPHS
from .scenes import Scene

__all__ = ['CLASSES', 'add_scene', 'box_sizes', 'new_document']

CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

_DIGITS = (
    'E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine '
    'Learning Repository, 1998, in the copy that scikit-learn (BSD-3-Clause) ships'
)
_DIGITS_URL = 'https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits'
_LICENSES = sorted({photo.license for photo in PHOTOGRAPHS})
_SMALL, _LARGE = 32**2, 96**2  # COCO's limits, square pixels


def new_document(split: str, seed: int) -> dict:
    """An annotation document without images.

    Args:
        split (str): ``'train'`` or ``'val'``.
        seed (int): Seed of the data set.

    Returns:
        dict: ``info``, ``licenses``, ``categories`` (ids 1 to 10), ``images``, ``annotations``.
    """
    credits = '; '.join(
        f'{photo.name}: {photo.credit} ({photo.license[0]})'
        for photo in PHOTOGRAPHS
        if photo.held_out == (split == 'val')
    )
    info = {
        'description': f'Handwritten digits on photographs, {split}, seed {seed}. '
        f'Digits: {_DIGITS}. Photographs, as scikit-learn and scikit-image ship them: {credits}.',
        'url': _DIGITS_URL,
        'version': '1.0',
        # The date of the digits: the bytes must not depend on the day on which they are written.
        'year': 1998,
        'contributor': 'dn_mmdet, tools/dataset_converters/digits_coco.py',
        'date_created': '1998/07/01',
    }
    return {
        'info': info,
        'licenses': [
            {'id': i, 'name': name, 'url': url} for i, (name, url) in enumerate(_LICENSES, 1)
        ],
        'categories': [
            {'id': i, 'name': name, 'supercategory': 'digit'} for i, name in enumerate(CLASSES, 1)
        ],
        'images': [],
        'annotations': [],
    }


def add_scene(document: dict, scene: Scene, file_name: str) -> None:
    """Append one image and its boxes, numbered on from what is there.

    Besides COCO's keys, an image names its ``photograph`` and an annotation its ``digit``, the
    position in ``sklearn.datasets.load_digits``.

    Args:
        document (dict): Annotation document; changed in place.
        scene (Scene): What the image shows. ``area`` is that of the box, in square pixels.
        file_name (str): Name of the image's file.
    """
    image_id = len(document['images']) + 1
    height, width = scene.image.shape[:2]
    license_ = next(photo.license for photo in PHOTOGRAPHS if photo.name == scene.photograph)
    document['images'].append(
        {
            'id': image_id,
            'file_name': file_name,
            'width': width,
            'height': height,
            'license': _LICENSES.index(license_) + 1,
            'photograph': scene.photograph,
        }
    )
    for label, digit, box in zip_strict(scene.labels, scene.digits, scene.boxes):
        document['annotations'].append(
            {
                'id': len(document['annotations']) + 1,
                'image_id': image_id,
                'category_id': label + 1,
                'bbox': list(box),
                'area': box[2] * box[3],
                'iscrowd': 0,
                'digit': digit,
            }
        )


def box_sizes(document: dict) -> dict[str, int]:
    """How many boxes are small, medium and large by COCO's limits (32 and 96 pixels squared)."""
    areas = [annotation['area'] for annotation in document['annotations']]
    small, large = sum(a < _SMALL for a in areas), sum(a > _LARGE for a in areas)
    return {'small': small, 'medium': len(areas) - small - large, 'large': large}
