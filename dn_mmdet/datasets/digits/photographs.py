"""Photographs that scikit-learn and scikit-image ship inside their wheels, as backgrounds."""

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from PIL import Image, ImageOps

from ...utils.errors import UserError

__all__ = ['PHOTOGRAPHS', 'Photograph', 'load_photographs', 'random_background']

_CC_BY = ('CC BY 2.0', 'https://creativecommons.org/licenses/by/2.0/')
_CC0 = ('CC0 1.0', 'https://creativecommons.org/publicdomain/zero/1.0/')
_PUBLIC = (
    'No known copyright restrictions',
    'https://scikit-image.org/docs/stable/api/skimage.data.html',
)

_LONGEST = 640  # pixels


@dataclass(frozen=True)
class Photograph:
    """A photograph in an installed package.

    Args:
        name (str): Short name, unique.
        package (str): Package whose folder holds the file.
        file (str): Path below that package.
        license (tuple[str, str]): Name and address, as the package states them.
        credit (str): Author or source, as the package states it.
        held_out (bool): Whether it belongs to val. Defaults to False.
    """

    name: str
    package: str
    file: str
    license: tuple[str, str]
    credit: str
    held_out: bool = False


# Pages of text and pictures with written digits (page, text) would be unlabeled objects; what is
# no photograph (logo, phantom, ...) or has no stated license (moon, motorcycle) is left out too.
PHOTOGRAPHS = (
    Photograph(
        'china',
        'sklearn',
        'datasets/images/china.jpg',
        _CC_BY,
        'https://www.flickr.com/photos/danielbuechele/6061409035/',
    ),
    Photograph(
        'flower',
        'sklearn',
        'datasets/images/flower.jpg',
        _CC_BY,
        'https://www.flickr.com/photos/vultilion/6056698931/',
        held_out=True,
    ),
    Photograph('astronaut', 'skimage', 'data/astronaut.png', _PUBLIC, 'NASA'),
    Photograph('brick', 'skimage', 'data/brick.png', _CC0, 'CC0Textures'),
    Photograph('camera', 'skimage', 'data/camera.png', _CC0, 'Lav Varshney'),
    Photograph('chelsea', 'skimage', 'data/chelsea.png', _CC0, 'Stefan van der Walt'),
    Photograph('coffee', 'skimage', 'data/coffee.png', _CC0, 'Rachel Michetti', held_out=True),
    Photograph('coins', 'skimage', 'data/coins.png', _PUBLIC, 'Brooklyn Museum'),
    Photograph('grass', 'skimage', 'data/grass.png', _CC0, 'CC0Textures'),
    Photograph('gravel', 'skimage', 'data/gravel.png', _CC0, 'CC0Textures', held_out=True),
    Photograph('hubble', 'skimage', 'data/hubble_deep_field.jpg', _PUBLIC, 'NASA'),
    Photograph(
        'ihc', 'skimage', 'data/ihc.png', _PUBLIC, 'Center for Microscopy and Molecular Imaging'
    ),
    Photograph('retina', 'skimage', 'data/retina.jpg', _CC0, 'Mikael Haggstrom'),
    Photograph('rocket', 'skimage', 'data/rocket.jpg', _PUBLIC, 'SpaceX', held_out=True),
)


def load_photographs() -> dict[str, dict[str, Image.Image]]:
    """Open the photographs of both splits.

    Returns:
        dict[str, dict[str, Image.Image]]: For ``'train'`` and ``'val'`` the RGB image of each name.

    Raises:
        UserError: scikit-learn or scikit-image is missing or does not ship a photograph.
    """
    loaded = {'train': {}, 'val': {}}
    for photo in PHOTOGRAPHS:
        loaded['val' if photo.held_out else 'train'][photo.name] = _open(photo)
    return loaded


def random_background(
    photographs: dict[str, Image.Image], size: int, rng: np.random.Generator
) -> tuple[str, np.ndarray]:
    """Cut a random square out of a random photograph, and darken it below any digit.

    Args:
        photographs (dict[str, Image.Image]): RGB images by name.
        size (int): Side of the result in pixels.
        rng (np.random.Generator): Source of the choice.

    Returns:
        tuple[str, np.ndarray]: Name of the photograph; RGB, (size, size, 3), float32 in [0, 0.55].
    """
    name = sorted(photographs)[rng.integers(len(photographs))]
    photo = photographs[name]
    side = min(photo.size) * rng.uniform(0.3, 1.0)
    left, top = rng.uniform(0, photo.width - side), rng.uniform(0, photo.height - side)
    cut = photo.resize(
        (size, size), Image.Resampling.BILINEAR, (left, top, left + side, top + side)
    )
    pixels = np.asarray(cut, np.float32) / 255
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    # A slight color cast as well: several photographs are gray.
    gain = rng.uniform(0.25, 0.55) * rng.uniform(0.8, 1.0, 3)
    return name, pixels * gain.astype(np.float32)


def _open(photo: Photograph) -> Image.Image:
    project = {'sklearn': 'scikit-learn', 'skimage': 'scikit-image'}[photo.package]
    try:
        with (files(photo.package) / photo.file).open('rb') as stream:
            image = Image.open(stream).convert('RGB')
    except ModuleNotFoundError as error:
        raise UserError(
            f'The photographs come with {project}, which is not installed: '
            'pip install "dn_mmdet[demo]"'
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f'The installed {project} does not ship {photo.file}; '
            'reinstall it: pip install --force-reinstall "dn_mmdet[demo]"'
        ) from error
    # Every crop is shrunk from here: a smaller original makes that several times faster.
    return ImageOps.contain(image, (_LONGEST, _LONGEST)) if max(image.size) > _LONGEST else image
