"""Data sets in Pascal VOC's XML as they are trained on and evaluated in a run."""

import logging

import pytest
import torch
from mmdet.models.utils import samplelist_boxtype2tensor
from mmdet.utils import register_all_modules
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, METRICS, DefaultScope
from mmengine.structures import InstanceData

from dn_mmdet.detection import use_coco_files, use_sound_boxes
from tests.helpers.bccd import BCCD, NEEDS_BCCD
from tests.helpers.layouts import write_layout

register_all_modules()

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(32, 96), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
METRIC = {
    'CocoMetric': ('coco/bbox_mAP', dict(type='CocoMetric', ann_file=None)),
    'VOCMetric': ('pascal_voc/mAP', dict(type='VOCMetric')),
    'VOCMetric, area': ('pascal_voc/mAP', dict(type='VOCMetric', eval_mode='area')),
}


@pytest.fixture(autouse=True)
def _as_in_a_run():
    use_coco_files()
    use_sound_boxes()
    use_sound_boxes()  # again, which changes nothing
    MMLogger.get_current_instance().setLevel(logging.WARNING)


@pytest.fixture
def root(tmp_path):
    write_layout('voc', tmp_path, images=3)
    return tmp_path / 'data/my_data'


def build(root, classes=('cat', 'dog'), ann_file='ImageSets/Main/val.txt', **options):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return DATASETS.build(
            dict(
                type='XMLDataset',
                data_root=str(root),
                ann_file=ann_file,
                data_prefix=dict(sub_data_root=''),
                metainfo=dict(classes=classes),
                pipeline=PIPELINE,
                **dict(test_mode=True) | options,
            )
        )


def score(dataset, metric, miss=-1):
    """The metric of predictions that find everything that is to be found, or miss a class."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        metric = METRICS.build(metric)
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        batch = pseudo_collate([dataset[i]])
        (sample,) = batch['data_samples']
        samplelist_boxtype2tensor([sample])  # as the data preprocessor does
        truth = sample.gt_instances
        kept = truth.labels != miss
        sample.pred_instances = InstanceData(
            bboxes=truth.bboxes[kept],
            labels=truth.labels[kept],
            scores=torch.linspace(0.9, 0.6, len(kept))[kept],
        )
        metric.process(batch, [sample.to_dict()])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize('name', METRIC)
def test_perfect_predictions_score_one(root, name):
    """Of images whose sides are scaled differently; boxes that do not count are beside others."""
    path = root / 'Annotations/val_0.xml'
    text = path.read_text()
    extra = text[text.index('<object>') : text.index('</object>') + 9]
    useless = extra.replace('<xmax>16', '<xmax>3')
    difficult = extra.replace('<difficult>0', '<difficult>1').replace('<ymin>5', '<ymin>9')
    assert len({extra, useless, difficult}) == 3
    path.write_text(text.replace('</annotation>', f'{useless}{difficult}</annotation>'))
    key, metric = METRIC[name]
    assert score(build(root), metric)[key] == pytest.approx(1)
    assert score(build(root), metric, miss=1)[key] == pytest.approx(0.5)


def corners(a, b, c, d):
    return f'<xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>'


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize(
    'box', [(5, 5, 5, 5), (5, 5, 5, 9), (9, 9, 5, 5), (80, 5, 90, 9), (5, -9, 9, -5)], ids=str
)
def test_useless_boxes_are_passed_over(root, box, test_mode):
    path = root / 'Annotations/val_0.xml'
    path.write_text(path.read_text().replace(corners(3, 5, 16, 18), corners(*box)))
    first = build(root, test_mode=test_mode).get_data_info(0)['instances']
    assert [entry['bbox'] for entry in first] == [[20, 22, 49, 51]]


def test_an_image_without_any_is_empty(root):
    path = root / 'Annotations/val_0.xml'
    text = path.read_text().replace(corners(3, 5, 16, 18), corners(5, 5, 5, 5))
    path.write_text(text.replace(corners(21, 23, 50, 52), corners(99, 5, 100, 50)))
    dataset = build(root, test_mode=False, filter_cfg=dict(filter_empty_gt=True))
    assert [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))] == ['val_1', 'val_2']


@NEEDS_BCCD
def test_blood_cells_are_evaluated():
    """By ids that are texts, as XMLDataset has them."""
    dataset = build(
        BCCD, ('RBC', 'WBC', 'Platelets'), 'ImageSets/Main/test.txt', indices=list(range(12))
    )
    for key, metric in METRIC.values():
        assert score(dataset, metric)[key] == pytest.approx(1, abs=0.02)


@NEEDS_BCCD
def test_boxes_of_no_size_in_blood_cells():
    dataset = build(BCCD, ('RBC', 'WBC', 'Platelets'), 'ImageSets/Main/trainval.txt')
    entries = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
    assert sum(map(len, entries)) == 3941
