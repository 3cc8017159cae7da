"""Stated sizes against those of the images, and what is told of a difference."""

import pytest
from PIL import Image

from dn_mmdet.datasets.files.image_file import ImageReader
from dn_mmdet.datasets.files.images import look_at_images
from dn_mmdet.utils.python39 import zip_strict


def save(path, size, orientation=None):
    exif = Image.Exif()
    if orientation:
        exif[0x112] = orientation
    Image.new('RGB', size).save(path, exif=exif)


def findings(folder, images, reader=None):
    """Of images given as (size, orientation, stated size)."""
    names = [f'{i}.jpg' for i in range(len(images))]
    for name, (size, orientation, _) in zip_strict(names, images):
        save(folder / name, size, orientation)
    sizes = [stated for *_, stated in images]
    return look_at_images(str(folder), names, 'ann.json', None, sizes, reader)


@pytest.mark.parametrize('orientation', [None, 1, 2, 3, 4])
def test_right_sizes(orientation, tmp_path):
    assert findings(tmp_path, [((40, 30), orientation, (40, 30))] * 3) == ([], [])


def test_turned_pictures_described_as_they_are_shown(tmp_path):
    images = [((40, 30), orientation, (30, 40)) for orientation in (5, 6, 7, 8)]
    assert findings(tmp_path, [*images, ((40, 30), 6, None), ((40, 30), 6, (30.0, 40))]) == ([], [])


UNTURNED = ImageReader(turns=False)
WRONG = {
    'halved': (
        [((20, 15), None, (40, 30)), ((320, 240), None, (640, 480)), ((40, 30), None, (40, 30))],
        None,
        [
            '2 of the 3 images in ',
            ' are 0.5 times the size that ann.json states, so its boxes do not fit: ',
            '0.jpg is 20x15, stated 40x30, 1.jpg is 320x240',
            'Use the images that were labeled',
        ],
    ),
    'scaled to a length': (
        [((640, 427), None, (1000, 667)), ((427, 640), None, (500, 750))],
        None,
        ['2 of the 2 images in ', ' are 0.64 to 0.853 times the size that ann.json states'],
    ),
    'enlarged': ([((400, 300), None, (40, 30))], None, ['are 10 times the size']),
    'swapped': (
        [((40, 30), None, (30, 40)), ((30, 30), None, (30, 30))],
        None,
        [
            '1 of the 2 images in ',
            'have width and height the other way round than ann.json states: 0.jpg is 40x30',
        ],
    ),
    'unturned': (
        [((40, 30), 6, (40, 30)), ((30, 30), 6, (30, 30)), ((40, 30), None, (40, 30))],
        None,
        [
            '1 of the 3 images in ',
            'are turned by their EXIF orientation when they are loaded, but ann.json describes '
            'them unturned: 0.jpg is 30x40, stated 40x30',
            "color_type='color_ignore_orientation'",
        ],
    ),
    'turned': (
        [((40, 30), 6, (30, 40)), ((40, 30), 6, (40, 30))],
        UNTURNED,
        ['1 of the 2 images in ', 'but are loaded unturned: 0.jpg is 40x30, stated 30x40'],
    ),
    'one size for all': (
        [((40, 30), None, (64, 64)), ((30, 50), None, (64, 64))],
        None,
        ['2 of the 2', 'have another size and shape than ann.json states for every one of them'],
    ),
    'cropped': (
        [((40, 30), None, (64, 40)), ((30, 50), None, (64, 64))],
        None,
        ['2 of the 2', 'have another size and shape than ann.json states, so'],
    ),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_sizes_are_told_with_their_cause(case, tmp_path):
    images, reader, words = WRONG[case]
    (error,), notes = findings(tmp_path, images, reader)
    for word in words:
        assert word in error
    assert error.endswith('(preflight.images=False under --cfg-options skips this check).')
    assert notes == []


def test_each_cause_is_told(tmp_path):
    images = [((40, 30), 6, (40, 30)), ((40, 30), None, (80, 60)), ((40, 30), None, (30, 40))]
    assert len(findings(tmp_path, images).errors) == 3


def test_a_size_that_was_rounded_is_a_note(tmp_path):
    errors, (note,) = findings(tmp_path, [((500, 333), None, (500, 334)), ((9, 9), None, (9, 9))])
    assert errors == []
    assert note == (
        f'1 of the 2 images in {tmp_path} differ from the size in ann.json by a pixel or two: '
        '0.jpg is 500x333, stated 500x334.'
    )
    # Two pixels are much of a small image.
    assert findings(tmp_path, [((30, 20), None, (28, 20))]).errors


def test_a_reader_that_is_not_known_may_turn_or_not(tmp_path):
    unknown = ImageReader(turns=None)
    images = [((40, 30), 6, (40, 30)), ((40, 30), 6, (30, 40))]
    assert findings(tmp_path, images, unknown) == ([], [])
    assert findings(tmp_path, [((40, 30), 1, (30, 40))], unknown).errors
