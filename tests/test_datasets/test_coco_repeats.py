"""Images and boxes that an annotation file has more than once."""

import pytest

from dn_mmdet.datasets.files.coco_repeats import repeated_boxes, repeated_images
from dn_mmdet.utils.python39 import zip_strict

BOX = [1, 2, 30, 40]


def file_of(*images):
    """A file of images, each given by its name and its boxes."""
    return dict(
        images=[dict(id=i, file_name=name) for i, (name, _) in enumerate(images)],
        annotations=[
            dict(id=1, image_id=i, category_id=1, bbox=box)
            for i, (_, boxes) in enumerate(images)
            for box in boxes
        ],
    )


@pytest.mark.parametrize(
    'images, error, note',
    [
        ([('a.jpg', [BOX]), ('b/a.jpg', [BOX, BOX])], None, None),
        (
            [('a.jpg', [BOX]), ('./a.jpg', [[0, 0, 9, 9]]), ('b.jpg', [])],
            "a.json: 1 image files have several entries in 'images' with different boxes (a.jpg)",
            None,
        ),
        ([('a.jpg', [BOX]), ('a.jpg', [])], 'each sample of them lacks boxes', None),
        (
            [('a.jpg', [BOX, [0, 0, 9, 9]]), ('a.jpg', [[0, 0, 9, 9], BOX])],
            None,
            'names 1 image files more than once, with the same boxes each time (a.jpg)',
        ),
    ],
)
def test_image_files_named_by_several_entries(images, error, note):
    for found, words in zip_strict(repeated_images(file_of(*images), 'a.json'), (error, note)):
        assert found is None if words is None else words in found


def test_boxes_given_twice_are_a_note_if_they_are_not_few():
    boxes = [(1, 1, i, 0, 9, 9) for i in range(40)]
    place = 'id {}'.format
    assert not [*repeated_boxes(boxes, place, 'a.json', 0)]
    assert not [*repeated_boxes([*boxes, boxes[3]], place, 'a.json', 0.03)]
    assert not [*repeated_boxes([*boxes, (1, 2, *boxes[3][2:])], place, 'a.json', 0)]
    (sentence,) = repeated_boxes([*boxes, boxes[3]], place, 'a.json', 0)
    assert '1 of 41 boxes in a.json repeat another one' in sentence and '(first id 40)' in sentence
