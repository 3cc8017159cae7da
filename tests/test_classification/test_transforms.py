import mmcv
import numpy as np
import pytest

from dn_mmdet.classification import ColorJitter, PackClassInputs, RandomResizedCrop


def test_random_resized_crop_takes_areas_and_ratios_of_its_ranges():
    np.random.seed(0)
    transform = RandomResizedCrop(20, area_range=(0.2, 0.5), ratio_range=(0.5, 2.0))
    # Pixels hold their own place, so that the crop's extent can be read off.
    rows, columns = np.mgrid[:100, :200].astype(np.float32)
    image = np.stack([rows, columns, rows], axis=-1)
    areas, ratios = [], []
    for _ in range(200):
        out = transform.transform(dict(img=image))
        assert out['img'].shape == (20, 20, 3) and out['img_shape'] == (20, 20)
        height = (out['img'][-1, 0, 0] - out['img'][0, 0, 0]) * 20 / 19
        width = (out['img'][0, -1, 1] - out['img'][0, 0, 1]) * 20 / 19
        areas.append(height * width / 20000)
        ratios.append(width / height)
    assert 0.19 < min(areas) < 0.25 and 0.45 < max(areas) < 0.51
    assert 0.45 < min(ratios) < 0.65 and 1.6 < max(ratios) < 2.2


def test_pack_class_inputs():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    packed = PackClassInputs().transform(dict(img=image, img_path='x.jpg', gt_label=3))
    assert packed['inputs'].shape == (3, 2, 4)
    assert packed['inputs'][1, 0, 2] == image[0, 2, 1]
    assert packed['data_samples'].gt_label == 3


@pytest.fixture(scope='module')
def image():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (16, 24, 3), dtype=np.uint8)


def jittered(image, **arguments):
    return ColorJitter(**arguments).transform(dict(img=image))['img']


@pytest.mark.parametrize(
    'name, adjust',
    [
        ('brightness', mmcv.adjust_brightness),
        ('contrast', mmcv.adjust_contrast),
        ('saturation', mmcv.adjust_color),
    ],
)
@pytest.mark.parametrize('factor', [0.0, 0.4, 1.7])
def test_a_fixed_factor_does_what_mmcv_does(image, name, adjust, factor):
    found = jittered(image, **{name: (factor, factor)})
    assert found.dtype == np.uint8
    # mmcv rounds down.
    assert np.abs(found.astype(int) - adjust(image, factor)).max() <= 1


@pytest.mark.parametrize('part, colour', [(1 / 3, 1), (-1 / 3, 0), (0.0, 2)])
def test_hue_turns_red_to_green_and_backwards_to_blue(part, colour):
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 2] = 200
    found = jittered(red, hue=(part, part)).astype(int)
    assert np.abs(found[..., colour] - 200).max() <= 1
    # One step of the 256 that OpenCV divides the circle into.
    assert np.delete(found, colour, axis=-1).max() <= 5


@pytest.mark.parametrize('value, low, high', [(0.4, 60, 140), (1.4, 0, 240), ((0.5, 0.7), 50, 70)])
def test_the_factor_is_drawn_from_the_range_of_the_argument(value, low, high):
    np.random.seed(0)
    transform = ColorJitter(brightness=value)
    grey = np.full((1, 1, 3), 100, dtype=np.uint8)
    found = [transform.transform(dict(img=grey))['img'][0, 0, 0] for _ in range(300)]
    assert low <= min(found) < low + 5
    assert high - 5 < max(found) <= high


def test_the_order_is_random(image):
    np.random.seed(0)
    arguments = dict(brightness=(3, 3), saturation=(0, 0))
    found = {jittered(image, **arguments).tobytes() for _ in range(20)}
    grey_last = mmcv.adjust_color(mmcv.adjust_brightness(image, 3), 0)
    bright_last = mmcv.adjust_brightness(mmcv.adjust_color(image, 0), 3)
    assert found == {grey_last.tobytes(), bright_last.tobytes()}


def test_color_jitter_follows_numpys_generator_and_leaves_its_input_alone(image):
    before = image.copy()
    arguments = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    found = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        found.append(jittered(image, **arguments))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    np.testing.assert_array_equal(image, before)


def test_color_jitter_changes_nothing_unless_asked(image):
    np.testing.assert_array_equal(jittered(image), image)


@pytest.mark.parametrize(
    'arguments, words',
    [
        (dict(brightness=-0.1), 'brightness must be 0 or more, .* got -0.1'),
        (dict(contrast=(1.2, 0.8)), r'contrast must be .* in order .* got \(1.2, 0.8\)'),
        (dict(saturation=(-0.2, 0.8)), 'saturation must be .* both 0 or more'),
        (dict(hue=0.6), r'hue must be in \[0, 0.5\]'),
        (dict(hue=(-0.6, 0)), r'hue must be .* both in \[-0.5, 0.5\]'),
        (dict(hue='0.1'), "hue must be a number, .* got '0.1'"),
        (dict(brightness=(0.1, 0.2, 0.3)), 'brightness must be a number, or a pair'),
        (dict(brightness=float('nan')), 'brightness must be 0 or more, .* got nan'),
    ],
)
def test_bad_arguments_of_color_jitter_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        ColorJitter(**arguments)
