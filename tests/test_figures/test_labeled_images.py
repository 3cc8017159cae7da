import numpy as np
import pytest
from PIL import Image

from dn_mmdet.figures.labeled_images import LabeledBox, LabeledImage, draw_labeled_images
from dn_mmdet.figures.style import PALETTE

GRAY = np.full((40, 60, 3), 128, dtype=np.uint8)


def draw(folder, *boxes, heading='train'):
    draw_labeled_images(
        {heading: [LabeledImage(GRAY, 'a.png', boxes)], 'val': []}, folder / 's.png'
    )
    return np.asarray(Image.open(folder / 's.png').convert('RGB')).astype(int)


def share(pixels, label):
    return (abs(pixels - PALETTE[label % len(PALETTE)]).max(axis=2) < 40).mean()


def test_a_box_has_the_color_of_its_class(tmp_path):
    pixels = draw(tmp_path, LabeledBox((10, 10, 50, 30), 3, 'cat'))
    assert share(pixels, 3) > 0.001 and share(pixels, 0) == 0
    further = draw(tmp_path, LabeledBox((10, 10, 50, 30), 3 + len(PALETTE), 'dog'))
    assert share(further, 3) > 0.001


def test_a_box_that_is_not_learned_is_dashed(tmp_path):
    corners = (10, 10, 50, 30)
    whole, dashed = (
        share(draw(tmp_path, LabeledBox(corners, 3, '', ignored)), 3) for ignored in (False, True)
    )
    assert 0.4 * whole < dashed < 0.8 * whole


def test_boxes_outside_do_not_move_the_image(tmp_path):
    alone = draw(tmp_path)
    beside = draw(tmp_path, LabeledBox((-500, -500, -400, 900), 3, 'far'))
    assert alone.shape == beside.shape
    gray = [(abs(pixels - 128).max(axis=2) < 3).mean() for pixels in (alone, beside)]
    assert gray[1] == pytest.approx(gray[0], rel=0.02)


@pytest.mark.filterwarnings('error')
def test_names_are_not_read_as_formulas_and_may_have_any_letters(tmp_path):
    draw(tmp_path, LabeledBox((10, 10, 50, 30), 3, r'$\cat_ 車'), heading='$a$ 車')
