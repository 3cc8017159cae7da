"""How digits are drawn: readable, of the size asked for, lighter than the background, apart."""

import numpy as np
import pytest
from PIL import Image

from dn_mmdet.datasets.digits import (
    PHOTOGRAPHS,
    compose_crop,
    compose_scene,
    load_glyphs,
    load_photographs,
    random_background,
    render_glyph,
)
from dn_mmdet.datasets.digits.glyphs import ink_box, light_color, paint
from dn_mmdet.datasets.digits.scenes import _leaves_visible
from dn_mmdet.utils.python39 import zip_strict

# A scene in which a digit would be hidden by more than a third if only boxes were looked at.
_CROWDED = 970
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope='module')
def glyphs():
    return load_glyphs()


@pytest.fixture(scope='module')
def reader(glyphs):
    """Reads a digit by the scans that are nearest to it."""
    from sklearn.neighbors import KNeighborsClassifier

    train = glyphs['train']
    return KNeighborsClassifier(3).fit([shape(cells) for cells in train.cells], train.labels)


def shape(alpha):
    """The ink's box, shrunk or blown up to 8x8."""
    x, y, width, height = ink_box(alpha)
    ink = Image.fromarray(alpha[y : y + height, x : x + width])
    return np.asarray(ink.resize((8, 8), Image.Resampling.BOX)).ravel()


@pytest.fixture(scope='module')
def photographs():
    return load_photographs()


@pytest.fixture(scope='module')
def scenes(glyphs, photographs):
    return [
        compose_scene(glyphs['val'], photographs['val'], 160, np.random.default_rng([7, i]))
        for i in (*range(150), _CROWDED)
    ]


def test_a_fifth_of_every_class_is_held_out(glyphs):
    from sklearn.datasets import load_digits

    digits = load_digits()
    train, val = glyphs['train'], glyphs['val']
    assert sorted([*train.indices, *val.indices]) == list(range(1797))
    share = np.bincount(val.labels) / np.bincount(digits.target)
    assert np.abs(share - 0.2).max() < 0.01
    for part in (train, val):
        np.testing.assert_array_equal(part.cells * 16, digits.images[part.indices])
        np.testing.assert_array_equal(part.labels, digits.target[part.indices])


def test_photographs_are_open_and_apart(photographs):
    assert len(photographs['val']) * 3 <= len(photographs['train']) + len(photographs['val'])
    assert sum(map(len, photographs.values())) == len({photo.name for photo in PHOTOGRAPHS})
    assert all(
        image.mode == 'RGB' and min(image.size) >= 300
        for part in photographs.values()
        for image in part.values()
    )


@pytest.mark.parametrize('side', [18, 40, 110])
def test_rendered_size(glyphs, side):
    rng = np.random.default_rng(0)
    for cells in glyphs['val'].cells[::6]:
        alpha = render_glyph(cells, side, 1000, rng)
        *_, width, height = ink_box(alpha)
        # One row and one column more or less is what a pixel grid allows.
        assert (width - 1) * (height - 1) <= 1.05 * side**2
        assert (width + 1) * (height + 1) >= 0.95 * side**2
        assert alpha.min() == 0 and alpha.max() == 1
        assert alpha[[0, -1]].any(1).all() and alpha[:, [0, -1]].any(0).all()
        assert max(render_glyph(cells, side, 30, rng).shape) <= 30


@pytest.mark.parametrize('side', [18, 110])
def test_rendered_digits_read_as_what_they_are(glyphs, reader, side):
    """The nearest scans are of the same class: no stroke is lost, nothing mirrored or turned.

    Unjittered scans score 0.96; drawn ones 0.89 to 0.92 over three seeds at 18, 25, 40 and 110
    pixels; mirrored, upside-down or transposed ones 0.20 to 0.41.
    """
    rng = np.random.default_rng(0)
    val = glyphs['val']
    drawn = [shape(render_glyph(cells, side, 1000, rng)) for cells in val.cells]
    assert reader.score(drawn, val.labels) > 0.85


def test_boxes_are_those_of_the_masks(scenes):
    assert sum(len(scene.boxes) for scene in scenes) > 300
    for scene in scenes:
        assert len(scene.labels) == len(scene.digits) == len(scene.boxes) == len(scene.masks)
        for mask, (x, y, width, height) in zip_strict(scene.masks, scene.boxes):
            inside = mask[y : y + height, x : x + width]
            assert inside.sum() == mask.sum() > 0
            assert inside[[0, -1]].any(1).all() and inside[:, [0, -1]].any(0).all()
            assert height >= 18


def test_digits_overlap_but_stay_visible(scenes):
    overlaps = 0
    for scene in scenes:
        hidden = np.zeros((160, 160), bool)
        for mask in scene.masks[::-1]:
            assert (mask & hidden).sum() <= mask.sum() / 3
            hidden |= mask
        for i, a in enumerate(scene.boxes):
            for b in scene.boxes[:i]:
                both = np.prod(
                    [
                        max(min(a[k] + a[k + 2], b[k] + b[k + 2]) - max(a[k], b[k]), 0)
                        for k in (0, 1)
                    ]
                )
                overlaps += both > 0
                assert both <= 0.3 * (a[2] * a[3] + b[2] * b[3] - both)
    assert overlaps > 10


def test_what_is_hidden_adds_up():
    masks = np.zeros((3, 12, 12), bool)
    masks[0, 0, :], masks[1, :, 0], masks[2, :, 4] = True, True, True
    assert _leaves_visible(masks)
    masks[1, :, :3] = True
    assert _leaves_visible(masks), 'four of twelve pixels of the lowest are hidden: a third'
    masks[2, :, 5] = True
    assert not _leaves_visible(masks), 'five of twelve'
    assert _leaves_visible(masks[[0, 2, 1]][:2])


def test_ink_stands_out_from_the_photograph(scenes):
    for scene in scenes:
        luma = scene.image / 255 @ LUMA
        hidden = np.zeros((160, 160), bool)
        for mask in scene.masks[::-1]:
            # More than half of every digit's visible ink is in full color; a gap in a stroke or
            # the shadow of the digit above may be darker.
            assert np.median(luma[mask & ~hidden]) > 0.7
            hidden |= mask
        # Outside the digits only their soft edges are lighter than a background can be.
        assert np.mean(luma[~hidden] > 0.56) < 0.1


def test_colours_are_light_and_backgrounds_dark(photographs):
    rng = np.random.default_rng(0)
    colors = np.array([light_color(rng) for _ in range(300)])
    assert (colors @ LUMA).min() > 0.77 and colors.max() <= 1
    assert np.ptp(colors, axis=1).max() > 0.2
    seen = {}
    for _ in range(100):
        name, pixels = random_background(photographs['train'], 64, rng)
        assert pixels.shape == (64, 64, 3) and pixels.dtype == np.float32
        assert pixels.min() >= 0 and pixels.max() <= 0.55
        seen[name] = seen.get(name, 0) + 1
    assert seen.keys() == photographs['train'].keys()


def test_paint_blends_and_casts_a_shadow_round_the_ink():
    canvas = np.full((100, 100, 3), 0.5, np.float32)
    color = np.array([1, 0.9, 0.8], np.float32)
    paint(canvas, np.ones((60, 30), np.float32), 0, 40, color)
    np.testing.assert_allclose(canvas[40:, :30], np.broadcast_to(color, (60, 30, 3)), rtol=1e-6)
    # A Gaussian of 1.5 pixels, half a pixel outside a straight edge, is 0.37: 0.5 (1 - 0.7 * 0.37).
    np.testing.assert_allclose(canvas[50:90, 30], 0.37, atol=0.02)
    np.testing.assert_allclose(canvas[39, 5:25], 0.37, atol=0.02)
    np.testing.assert_array_equal(canvas[:, 36:], 0.5)


@pytest.mark.parametrize('size', [64, 320])
def test_scenes_scale_with_the_image(glyphs, photographs, size):
    sides = []
    for i in range(30):
        scene = compose_scene(
            glyphs['train'], photographs['train'], size, np.random.default_rng([0, i])
        )
        assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
        for x, y, width, height in scene.boxes:
            assert x >= 0 and y >= 0 and x + width <= size and y + height <= size
            sides.append((width * height) ** 0.5 / size)
    assert 0.1 < min(sides) < 0.2 and 0.6 < max(sides) < 0.8


def test_crops_show_one_digit_of_the_class(glyphs, photographs, reader):
    labels, drawn = np.arange(200) % 10, []
    for i, label in enumerate(labels):
        crop = compose_crop(
            glyphs['val'], photographs['val'], label, 80, np.random.default_rng([0, i])
        )
        assert crop.shape == (80, 80, 3) and crop.dtype == np.uint8
        ink = (crop / 255 @ LUMA > 0.62).astype(np.float32)
        assert 0.47 * 80 <= max(ink_box(ink)[2:]) <= 0.97 * 80
        drawn.append(shape(ink))
    # As for the digits above: 0.2 to 0.4 is what a wrong picture gets, 0.1 a wrong class.
    assert reader.score(drawn, labels) > 0.8
