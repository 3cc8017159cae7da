"""The weighted accumulation against pycocotools' own, on images that are drawn again and again."""

from contextlib import redirect_stdout
from copy import deepcopy
from io import StringIO

import numpy as np
import pytest

from dn_mmdet.compare.images.matches import match_detections

CATEGORIES = {3: 'a', 5: 'b', 8: 'rare', 9: 'absent'}
IMAGES = 12


def coco_of(annotations, images=IMAGES):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = dict(
        images=[
            dict(id=10 + i, file_name=f'{i}.png', width=200, height=200) for i in range(images)
        ],
        categories=[dict(id=i, name=name) for i, name in CATEGORIES.items()],
        annotations=[
            dict(id=i, iscrowd=0, area=a['bbox'][2] * a['bbox'][3], **a)
            for i, a in enumerate(annotations, 1)
        ],
    )
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


@pytest.fixture(scope='module')
def scene():
    """Objects of all sizes, one in six a crowd, and detections near and far of them."""
    random = np.random.default_rng(3)
    annotations, detections = [], []
    for image in range(10, 10 + IMAGES - 1):  # the last image is empty
        for _ in range(random.integers(0, 5)):
            x, y, side = random.uniform(0, 90, 3)
            category = int(random.choice([3, 5, 8], p=[0.6, 0.35, 0.05]))
            box = [x, y, 12 + side, 12 + side]
            annotations.append(dict(image_id=image, category_id=category, bbox=box))
            for _ in range(random.integers(0, 4)):
                moved = [value + random.normal(0, 5) for value in box]
                detections.append(
                    dict(
                        image_id=image,
                        category_id=category,
                        bbox=moved,
                        score=float(random.random()),
                    )
                )
        detections += [
            dict(
                image_id=image,
                category_id=int(random.choice([3, 5, 9])),
                bbox=[*random.uniform(0, 90, 4)],
                score=float(random.random()),
            )
            for _ in range(4)
        ]
    coco = coco_of(annotations)
    for annotation in coco.dataset['annotations'][::6]:
        annotation['iscrowd'] = 1
    return coco, detections


def evaluated(scene, area='all', most=100, picks=None):
    """What COCOeval says, with a list of images as it is or with some of them repeated."""
    from pycocotools.cocoeval import COCOeval

    coco, detections = scene
    with redirect_stdout(StringIO()):
        found = COCOeval(coco, coco.loadRes(deepcopy(detections)), 'bbox')
        found.params.maxDets = [most]
        found.params.areaRng = [found.params.areaRng[found.params.areaRngLbl.index(area)]]
        found.evaluate()
        if picks is not None:
            size, own = len(found.params.imgIds), found.params.imgIds
            found.evalImgs = [
                found.evalImgs[k * size + i] for k in range(len(CATEGORIES)) for i in picks
            ]
            found.params.imgIds = found._paramsEval.imgIds = [own[i] for i in picks]
        found.accumulate()
    precision = found.eval['precision']
    by_class = [precision[:, :, k][precision[:, :, k] > -1] for k in range(len(CATEGORIES))]
    return (
        precision[precision > -1].mean(),
        [values.mean() if values.size else float('nan') for values in by_class],
    )


@pytest.mark.parametrize(
    ('area', 'most'), [('all', 100), ('all', 1), ('small', 100), ('medium', 100), ('large', 100)]
)
def test_every_image_once_is_cocos_own_figure(scene, area, most):
    matches = match_detections(*scene, CATEGORIES, area, most)
    total, by_class = evaluated(scene, area, most)
    assert 0.02 < total < 0.9 and matches.images == tuple(range(10, 10 + IMAGES))
    assert matches.average_precision() == pytest.approx(total, abs=1e-9)
    assert list(matches.class_precision().values()) == pytest.approx(
        by_class, abs=1e-9, nan_ok=True
    )


@pytest.mark.parametrize('area', ['all', 'medium'])
def test_repeated_images_are_what_coco_makes_of_a_list_with_repeats(scene, area):
    matches = match_detections(*scene, CATEGORIES, area)
    random = np.random.default_rng(0)
    values = []
    for _ in range(15):
        picks = np.sort(random.integers(IMAGES, size=IMAGES))
        weights = np.bincount(picks, minlength=IMAGES)
        total, _ = evaluated(scene, area, picks=picks)
        values.append(matches.average_precision(weights))
        assert values[-1] == pytest.approx(total, abs=1e-9)
    assert np.ptp(values) > 0.05


def test_no_object_and_no_detection(scene):
    coco, detections = scene
    nothing = match_detections(coco, [], CATEGORIES)
    assert nothing.average_precision() == 0
    # The last image is empty: alone it has no average precision, and nothing is wrong with it.
    alone = np.eye(IMAGES, dtype=int)[-1]
    assert np.isnan(match_detections(coco, detections, CATEGORIES).average_precision(alone))
    assert nothing.f1(0.3)[-1] == 1 and nothing.f1(0.3).min() == 0


def test_f1_of_an_image_by_hand():
    coco = coco_of(
        [
            dict(image_id=10, category_id=3, bbox=[0, 0, 100, 100]),
            dict(image_id=10, category_id=5, bbox=[0, 0, 50, 50]),
        ],
        images=3,
    )
    found = match_detections(
        coco,
        [
            # IoU 0.72: right at the five thresholds 0.5 to 0.7.
            dict(image_id=10, category_id=3, bbox=[0, 0, 100, 72], score=0.9),
            dict(image_id=10, category_id=3, bbox=[0, 0, 100, 100], score=0.2),
            dict(image_id=11, category_id=5, bbox=[0, 0, 10, 10], score=0.5),
        ],
        CATEGORIES,
    )
    # 2 * 1 / (1 detection + 2 objects) at five of ten thresholds.
    assert found.f1(0.3) == pytest.approx([0.5 * 2 / 3, 0, 1])
    # With the other one: one is right at every threshold, of two detections and two objects.
    assert found.f1(0.1) == pytest.approx([2 / 4, 0, 1])
    assert found.f1(0.6) == pytest.approx([1 / 3, 1, 1])


def test_a_crowd_is_neither_right_nor_wrong():
    coco = coco_of([dict(image_id=10, category_id=3, bbox=[0, 0, 100, 100])], images=1)
    coco.dataset['annotations'][0]['iscrowd'] = 1
    found = match_detections(
        coco, [dict(image_id=10, category_id=3, bbox=[0, 0, 100, 100], score=0.9)], CATEGORIES
    )
    assert found.f1(0.3) == pytest.approx([1]) and np.isnan(found.average_precision())
