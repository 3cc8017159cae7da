"""What mmdet reads and evaluates COCO files with: labels follow names, and any id will do."""

import json
import logging
from multiprocessing.pool import ThreadPool

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset, Objects365V1Dataset
from mmdet.datasets.coco_panoptic import CocoPanopticDataset
from mmdet.evaluation import CocoMetric, OVCocoMetric
from mmengine.logging import MMLogger

from dn_mmdet.detection import CocoFile, use_coco_files
from dn_mmdet.utils.errors import UserError

NAMES = ('cat', 'dog', 'elk')
# Not in the order of the list, and with ids in no order: the file's own.
CATEGORIES = [dict(id=7, name='elk'), dict(id=0, name='cat'), dict(id=3, name='dog')]


@pytest.fixture(autouse=True)
def _own_coco():
    use_coco_files()
    MMLogger.get_current_instance().setLevel(logging.WARNING)


def content(ids=None, categories=CATEGORIES, boxes=9):
    """Three images with boxes of the categories in turn, of three sizes each."""
    ids = list(range(boxes)) if ids is None else ids
    annotations = []
    for i, own in enumerate(ids):
        side = (20, 40, 100)[i % 3]
        x, y = 10 + 60 * (i // 3), 5
        mask = [[x, y, x + side, y, x + side, y + side, x, y + side]]
        annotations.append(
            dict(
                id=own,
                image_id=i % 3,
                category_id=categories[(i + i // 3) % len(categories)]['id'],
                bbox=[x, y, side, side],
                area=side * side,
                iscrowd=0,
                segmentation=mask,
            )
        )
    images = [dict(id=i, file_name=f'{i}.jpg', width=300, height=200) for i in range(3)]
    return dict(images=images, annotations=annotations, categories=categories)


def write(folder, data, encoding='utf-8', name='file.json'):
    path = folder / name
    path.write_text(json.dumps(data), encoding=encoding)
    return str(path)


def samples(path, names=NAMES):
    """The ground truth as predictions, of a model that was trained on a data set like this."""
    dataset = CocoDataset(ann_file=path, metainfo=dict(classes=names), data_prefix=dict(img='/'))
    found = []
    for info in map(dataset.get_data_info, range(len(dataset))):
        boxes = [instance['bbox'] for instance in info['instances']]
        labels = [instance['bbox_label'] for instance in info['instances']]
        predicted = dict(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.int64),
            scores=torch.ones(len(labels)),
        )
        found.append(
            dict(
                img_id=info['img_id'],
                ori_shape=(info['height'], info['width']),
                pred_instances=predicted,
                instances=info['instances'],
            )
        )
    return found


def evaluate(predictions, names=NAMES, cls=CocoMetric, **kwargs):
    metric = cls(**kwargs)
    metric.dataset_meta = dict(classes=names)
    metric.process({}, predictions)
    return metric.evaluate(len(predictions))


@pytest.mark.parametrize(
    'ids',
    [
        range(9),
        range(1, 10),
        range(-4, 5),
        [f'{i:08x}-uuid' for i in range(9)],
        [None, *range(8)],
        [0.5 + i for i in range(9)],
        [2**60 + i for i in range(9)],
    ],
    ids=['from 0', 'from 1', 'negative', 'texts', 'one null', 'floats', 'huge'],
)
def test_perfect_predictions_are_perfect_whatever_the_ids(ids, tmp_path):
    path = write(tmp_path, content(list(ids)))
    metrics = evaluate(samples(path), ann_file=path)
    assert metrics['coco/bbox_mAP'] == metrics['coco/bbox_mAP_50'] == 1
    assert [metrics[f'coco/bbox_mAP_{size}'] for size in 'sml'] == [1, 1, 1]


def test_ids_of_images_and_categories_may_be_texts(tmp_path):
    data = content()
    for image in data['images']:
        image['id'] = f'image {image["id"]}'
    for entry in data['annotations']:
        entry['image_id'] = f'image {entry["image_id"]}'
        entry['category_id'] = f'category {entry["category_id"]}'
    data['categories'] = [dict(id=f'category {c["id"]}', name=c['name']) for c in CATEGORIES]
    path, names = write(tmp_path, data), ('fox', *NAMES[::-1])
    metrics = evaluate(
        samples(path, names),
        names,
        ann_file=path,
        classwise=True,
        metric=['bbox', 'proposal', 'proposal_fast'],
    )
    assert metrics['coco/bbox_mAP'] == metrics['coco/AR@100'] == 1
    assert [metrics[f'coco/{name}_precision'] for name in NAMES] == [1, 1, 1]


def test_ids_that_evaluation_takes_stay(tmp_path):
    coco = CocoFile(write(tmp_path, content([5, 3, 9])))
    assert sorted(coco.anns) == [3, 5, 9]
    coco = CocoFile(write(tmp_path, content([0, 3, 9])))
    assert sorted(coco.anns) == [1, 2, 3]
    assert [entry['bbox'][2] for entry in coco.loadAnns([1, 2, 3])] == [20, 40, 100]


def test_ids_given_twice_are_seen(tmp_path):
    with pytest.raises(AssertionError, match='not unique'):
        samples(write(tmp_path, content([0, 0, 1])))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_files_with_a_byte_order_mark_are_read(encoding, tmp_path):
    path = write(tmp_path, content(), encoding)
    assert evaluate(samples(path), ann_file=path)['coco/bbox_mAP'] == 1


@pytest.mark.parametrize('names', [NAMES, NAMES[::-1], ('elk', 'cat', 'dog'), ['dog', 'cat']])
def test_labels_follow_the_class_list(names, tmp_path):
    path = write(tmp_path, content())
    by_id = {category['id']: category['name'] for category in CATEGORIES}
    data = content()
    for sample in samples(path, names):
        truth = [
            by_id[entry['category_id']]
            for entry in data['annotations']
            if entry['image_id'] == sample['img_id']
        ]
        labels = sample['pred_instances']['labels'].tolist()
        assert [names[label] for label in labels] == [name for name in truth if name in names]


@pytest.mark.parametrize('trained', [NAMES, NAMES[::-1], ('elk', 'cat', 'dog')])
@pytest.mark.parametrize('truth', ['file', 'data set'])
def test_files_of_one_run_may_order_their_categories_as_they_like(trained, truth, tmp_path):
    """A model of one order is evaluated on a file of another: each class has its own score."""
    path = write(tmp_path, content())
    predictions = samples(path, trained)
    for sample in predictions:  # all that are dogs are missed
        keep = sample['pred_instances']['labels'] != trained.index('dog')
        sample['pred_instances'] = {k: v[keep] for k, v in sample['pred_instances'].items()}
    metrics = evaluate(
        predictions, trained, classwise=True, ann_file=path if truth == 'file' else None
    )
    assert metrics['coco/bbox_mAP'] == pytest.approx(2 / 3, abs=1e-3)
    found = {name: metrics[f'coco/{name}_precision'] for name in NAMES}
    assert found == dict(cat=1, dog=0, elk=1)


@pytest.mark.parametrize('names', [(*NAMES, 'fox'), ('fox', *NAMES), ('cat', 'fox', 'ape', 'dog')])
def test_a_name_that_the_file_lacks_takes_nobodys_place(names, tmp_path):
    path = write(tmp_path, content())
    metrics = evaluate(samples(path, names), names, classwise=True, ann_file=path)
    assert metrics['coco/bbox_mAP'] == 1
    there = {name for name in names if name in NAMES}
    found = {name: metrics[f'coco/{name}_precision'] for name in names}
    assert {name for name, value in found.items() if value == 1} == there
    assert all(np.isnan(value) for name, value in found.items() if name not in there)


def test_predictions_of_a_class_that_the_file_lacks_are_false_alarms_of_nobody(tmp_path):
    path, names = write(tmp_path, content()), ('fox', *NAMES)
    predictions = samples(path, names)
    predicted = predictions[0]['pred_instances']
    predicted.update({key: torch.cat([value, value[:1]]) for key, value in predicted.items()})
    predicted['labels'][-1] = 0
    assert evaluate(predictions, names, ann_file=path)['coco/bbox_mAP'] == 1
    alone = [dict(sample, pred_instances=dict(predicted)) for sample in predictions]
    for sample in alone:
        sample['pred_instances']['labels'] = torch.zeros_like(predicted['labels'])
    assert evaluate(alone, names, ann_file=path)['coco/bbox_mAP'] == 0


def test_result_files_have_the_files_own_ids(tmp_path):
    path = write(tmp_path, content())
    predictions = samples(path)
    evaluate(predictions, ann_file=path, format_only=True, outfile_prefix=f'{tmp_path}/out')
    found = json.loads((tmp_path / 'out.bbox.json').read_text())
    truth = [
        (entry['image_id'], entry['category_id'], entry['bbox'])
        for entry in content()['annotations']
    ]
    written = [(entry['image_id'], entry['category_id'], entry['bbox']) for entry in found]
    assert sorted(written) == sorted(truth)


def test_masks_and_proposals(tmp_path):
    path = write(tmp_path, content())
    predictions = samples(path)
    coco = CocoFile(path)
    for sample in predictions:
        ids = coco.get_ann_ids(img_ids=[sample['img_id']])
        sample['pred_instances']['masks'] = [coco.annToRLE(entry) for entry in coco.load_anns(ids)]
    metrics = evaluate(
        predictions,
        ann_file=path,
        metric=['bbox', 'segm', 'proposal', 'proposal_fast'],
        sort_categories=True,
        classwise=True,
    )
    assert metrics['coco/bbox_mAP'] == metrics['coco/segm_mAP'] == 1
    assert metrics['coco/AR@100'] == 1


def test_evaluation_in_several_processes_keeps_the_order_too(tmp_path, monkeypatch):
    from mmdet.datasets.api_wrappers import cocoeval_mp

    monkeypatch.setattr(cocoeval_mp.mp, 'Pool', lambda number: ThreadPool(1))
    path = write(tmp_path, content())
    names = ('elk', 'cat', 'dog')
    predictions = samples(path, names)
    for sample in predictions:
        keep = sample['pred_instances']['labels'] != names.index('dog')
        sample['pred_instances'] = {k: v[keep] for k, v in sample['pred_instances'].items()}
    metrics = evaluate(predictions, names, ann_file=path, classwise=True, use_mp_eval=True)
    found = {name: metrics[f'coco/{name}_precision'] for name in NAMES}
    assert found == dict(cat=1, dog=0, elk=1)


def test_all_that_pair_in_mmdet_read_alike():
    assert CocoDataset.COCOAPI is Objects365V1Dataset.COCOAPI is CocoFile
    assert not issubclass(CocoPanopticDataset.COCOAPI, CocoFile)
    from mmdet.datasets.api_wrappers import COCO

    assert COCO is CocoFile
    for metric in (CocoMetric, OVCocoMetric):
        assert metric.compute_metrics.__globals__['COCO'] is CocoFile


def test_names_of_no_category_and_of_two(tmp_path):
    with pytest.raises(UserError, match=r'none of the 2 names .*\(ape, fox\).* elk, cat, dog'):
        CocoFile(write(tmp_path, content())).get_cat_ids(cat_names=('ape', 'fox'))
    twice = [*CATEGORIES, dict(id=9, name='dog')]
    with pytest.raises(UserError, match=r'1 of its 4 category names more than once \(dog\)'):
        CocoFile(write(tmp_path, content(categories=twice))).get_cat_ids(cat_names=NAMES)


def test_other_questions_are_answered_as_ever(tmp_path):
    coco = CocoFile(write(tmp_path, content()))
    assert coco.get_cat_ids() == [7, 0, 3]
    assert coco.get_cat_ids(cat_names='dog') == [3]
    assert coco.get_cat_ids(cat_ids=[3, 7]) == [7, 3]
    assert coco.get_ann_ids() == list(range(1, 10))
    assert CocoFile().get_img_ids() == []
    assert coco.img_ann_map is coco.imgToAnns and coco.cat_img_map is coco.catToImgs
