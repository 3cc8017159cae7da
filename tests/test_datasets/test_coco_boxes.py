"""Boxes and images that count are those that mmdet's CocoDataset and COCOeval count."""

import json
import random

import pytest
from mmdet.datasets import CocoDataset
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dn_mmdet.datasets.files.coco_boxes import filter_images, judge_boxes

CLASSES = ('cat', 'dog')


def file_of(annotations, size=(100, 80), images=1):
    """A COCO file; an annotation is given by its box and what differs from a plain one."""
    return dict(
        images=[
            dict(id=i + 1, file_name=f'{i}.jpg', width=size[0], height=size[1])
            for i in range(images)
        ],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog'), dict(id=7, name='tree')],
        annotations=[
            dict(id=i + 1, image_id=1, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
            | more
            for i, (box, more) in enumerate(annotations)
        ],
    )


def random_file(seed):
    pick = random.Random(seed)
    values = [-30, -1, -0.5, 0, 0, 0.4, 0.9999, 1, 1.5, 20, 79.5, 80, 99, 99.5, 100, 101, 150]
    content = file_of(
        [
            (
                [pick.choice(values) for _ in range(4)],
                dict(
                    image_id=pick.randint(1, 30),
                    category_id=pick.choice([1, 1, 2, 7]),
                    area=pick.choice([-1, 0, 0.5, 100, 100, 100]),
                    iscrowd=pick.choice([0, 0, 0, 1]),
                    ignore=pick.choice([0, 0, 0, 1, False, True, None]),
                ),
            )
            for _ in range(300)
        ],
        images=40,
    )
    for image in content['images']:
        image.update(width=pick.choice([1, 20, 100]), height=pick.choice([20, 31, 32, 80]))
    return content


@pytest.mark.parametrize('seed', range(3))
def test_as_mmdet_reads_a_file(seed, tmp_path):
    content, path = random_file(seed), tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(path), data_prefix=dict(img=''), metainfo=dict(classes=CLASSES), test_mode=True
    )
    instances = [i for data in map(dataset.get_data_info, range(40)) for i in data['instances']]
    learned = [CLASSES[i['bbox_label']] for i in instances if not i['ignore_flag']]
    boxes = judge_boxes(content, 'a.json', CLASSES)
    assert boxes.used == {name: learned.count(name) for name in CLASSES}
    assert len(boxes.unused) == sum(boxes.given.values()) - len(learned)
    assert boxes.unused.counts['crowds'] == len(instances) - len(learned)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize(
    'options',
    [
        None,
        dict(filter_empty_gt=True),
        dict(min_size=32),
        dict(filter_empty_gt=True, min_size=31.5),
    ],
)
def test_images_that_mmdet_keeps(options, seed, tmp_path):
    content, path = random_file(seed), tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    dataset = CocoDataset(
        ann_file=str(path),
        data_prefix=dict(img=''),
        metainfo=dict(classes=CLASSES),
        filter_cfg=options,
    )
    left = filter_images(content, CLASSES, options)
    assert left.kept == len(dataset) and left.kept + left.empty + left.small == 40


def found(content, box, **more):
    """Recall of one class in an evaluation in which every box of it is predicted exactly."""
    truth = COCO()
    truth.dataset = json.loads(json.dumps(content))
    truth.createIndex()
    predictions = [
        dict(image_id=1, category_id=1, bbox=box, score=1.0),
        dict(image_id=1, category_id=1, bbox=[90, 70, 2, 2], score=0.1),
    ]
    evaluation = COCOeval(truth, truth.loadRes(predictions), 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval['recall'][0, 0, 0, -1]


@pytest.mark.parametrize(
    'box, more, recall, words',
    [
        ([10, 10, 20, 20], {}, 1, ''),
        ([10, 10, 20, 20], dict(area=0), 1, ''),
        ([10, 10, 20, 20], dict(ignore=1), 1, ''),  # COCOeval does not look at it
        ([10, 10, 20, 20], dict(iscrowd=1), -1, '1 crowds (first id 1)'),
        ([10, 10, 20, 20], dict(area=-1), -1, 'an area below 0'),
        ([10, 10, 0, 20], {}, 0, '1 of zero size (first id 1)'),
        ([200, 10, 20, 20], {}, 0, '1 outside the image'),
    ],
)
def test_as_coco_eval_counts(box, more, recall, words):
    content = file_of([(box, more)])
    # What lies outside the image cannot be predicted.
    predicted = box if box[0] < 100 else [80, 10, 20, 20]
    assert found(content, predicted) == pytest.approx(recall)
    boxes = judge_boxes(content, 'a.json', CLASSES, 'evaluation', coco_eval=True)
    if words:
        assert not boxes.used
        assert words in next(boxes.errors()) and 'for evaluation' in next(boxes.errors())
    else:
        assert boxes.used == {'cat': 1} and not [*boxes.errors()]


GOOD = ([10, 10, 20, 20], {})


@pytest.mark.parametrize(
    'annotations, words',
    [
        ([], '1 images and no annotation of the classes'),
        (
            [([0.1, 0.1, 0.5, 0.5], {}), ([0.2, 0.2, 1, 1], {})],
            'multiply their numbers by the width',
        ),
        ([([10, 10, 20, 20], dict(area=0))], 'write the width times the height of the box'),
        ([([0, 0, 0, 0], {})], 'the tool that wrote them lost the boxes'),
        ([([30, 30, -20, -20], dict(area=400))], 'x2 lies left of x1'),
        ([([10, 10, 20, 20], dict(iscrowd=1))], 'iscrowd is 1: write 0'),
        ([([10, 10, 20, 20], dict(ignore=True))], 'ignore is set'),
        ([([200, 10, 20, 20], {})], 'images of another size'),
        ([GOOD, ([0, 0, 0, 0], dict(category_id=2))], "1 boxes of class 'dog'"),
    ],
)
def test_nothing_left_is_told_with_its_cause(annotations, words):
    sentences = [*judge_boxes(file_of(annotations), 'a.json', CLASSES).errors()]
    assert len(sentences) == 1 and words in sentences[0] and 'a.json' in sentences[0]


def test_a_part_lost_is_a_note_that_counts_by_reason():
    lost = [([10, 10, 0, 20], dict(id=900)), ([10, 10, 0, 5], {}), ([200, 0, 9, 9], dict(id='x'))]
    boxes = judge_boxes(file_of([GOOD] * 9 + lost), 'a.json', CLASSES)
    assert not [*boxes.errors()]
    assert [*boxes.parts_lost()] == [
        '3 of 12 boxes in a.json are not used: 2 of zero size (first id 900), 1 outside the image '
        '(first id x).'
    ]
    boxes = judge_boxes(file_of([GOOD] * 9 + lost), 'a.json', CLASSES, 'evaluation', True)
    assert '3 of 12 boxes in a.json cannot be found, and lower mAP' in next(boxes.parts_lost())


@pytest.mark.parametrize(
    'annotations, evaluated, words',
    [
        ([([60, 60, 90, 75], {})] * 2, False, 'read as [x1, y1, x2, y2] they would fit'),
        ([([60, 60, 50, 15], {})] * 2, False, 'reach out of their image (first id 1): is the size'),
        ([([5, 6, 25, 24], dict(area=360))] + [([9, 6, 25, 24], dict(area=288))], False, 'read'),
        ([([5, 6, 25, 24], {}), ([0, 0, 25, 24], dict(area=600))], False, ''),
        ([GOOD] * 19 + [([-9, 0, 20, 20], {})], False, '1 of 20 boxes in a.json reach out'),
        ([GOOD] * 40 + [([-9, 0, 20, 20], {})], False, ''),
        ([([0.5, 60, 100, 20.5], {})] * 2, False, ''),  # rounded
        ([([10, 10, 20, 20], dict(area=0.02))], True, 'mAP_s, mAP_m and mAP_l sort them wrongly'),
        ([([10, 10, 20, 20], dict(area=0.02))], False, ''),
        ([([10, 10, 20, 20], dict(area=90))], True, ''),  # of a segmentation
        ([([10, 10, 20, 20], dict(ignore=1))], True, 'marked ignore (first id 1)'),
    ],
)
def test_habits(annotations, evaluated, words):
    notes = judge_boxes(file_of(annotations), 'a.json', CLASSES, coco_eval=evaluated).notes
    assert len(notes) == bool(words) and words in ''.join(notes)


@pytest.mark.parametrize('side, notes', [(640, 1), (150, 0)])
def test_percent(side, notes):
    content = file_of([([30, 20, 60.5, 70], {})] * 20, size=(side, side))
    assert len(judge_boxes(content, 'a.json', CLASSES).notes) == notes
