"""What is measured, what the best checkpoint is best in, and which parts of a run go together."""

import pytest
from mmengine.config import Config

from dn_mmdet.engine.preflight.config import check_keys, check_model, check_types
from dn_mmdet.engine.preflight.evaluation import check_metrics, check_save_best
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.engine.preflight.registries import config_scope
from dn_mmdet.utils.errors import UserError
from tests.test_engine.test_preflight.test_levels import RETINA

COCO = dict(type='CocoMetric', ann_file='nowhere.json')
VOC = dict(type='mmdet.VOCMetric', iou_thrs=[0.5, 0.75])
TOP_K = dict(type='TopKAccuracy', topk=(1, 5))
CUSTOM = dict(type='CrowdHumanMetric', ann_file='nowhere.json')
DATASET = dict(type='CocoDataset', metainfo=dict(classes=('cat', 'dog')))


def planned(evaluator, checkpoint=None, mode='train', **more):
    loader = dict(batch_size=1, dataset=DATASET)
    cfg = dict(
        default_scope='mmdet',
        model=dict(type='DNB', num_features=4),
        optim_wrapper=dict(),
        default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', **(checkpoint or {}))),
    )
    for part in ('train', 'val', 'test'):
        cfg[f'{part}_dataloader'] = loader
        cfg[f'{part}_cfg'] = dict(max_epochs=1, by_epoch=True) if part == 'train' else dict()
    cfg['val_evaluator'] = cfg['test_evaluator'] = evaluator
    return PlannedRun(Config({**cfg, **more}), mode)


def check(function, run):
    with config_scope(run.cfg):
        function(run)


@pytest.mark.parametrize(
    'evaluator, words',
    [
        (dict(COCO, metric='accuracy'), "val_evaluator.metric is 'accuracy', which CocoMetric"),
        ([TOP_K, dict(COCO, metric=['bbox', 'mAP'])], r'val_evaluator.1.metric is \[.*segm'),
        (dict(COCO, metric=None), 'val_evaluator.metric is None'),
        (dict(COCO, metric=[]), r'val_evaluator.metric is \[\], so nothing would be measured'),
        (dict(VOC, metric='bbox'), "'bbox', which VOCMetric does not measure.*mAP, recall"),
        (dict(COCO, metric_items=['AP']), "metric_items has 'AP'.*mAP_50"),
        (dict(type='Evaluator', metrics=[dict(COCO, metric='x')]), r'evaluator.metrics.0.metric'),
    ],
)
def test_measures_that_a_metric_does_not_have(evaluator, words):
    with pytest.raises(UserError, match=words):
        check(check_metrics, planned(evaluator))


@pytest.mark.parametrize(
    'evaluator', [COCO, dict(COCO, metric=['bbox', 'proposal_fast']), VOC, TOP_K, CUSTOM]
)
def test_measures_of_a_metric(evaluator):
    check(check_metrics, planned(evaluator))


@pytest.mark.parametrize(
    'evaluator, key, words',
    [
        (COCO, 'bbox_mAP', "is 'bbox_mAP', which .* not give: did you mean 'coco/bbox_mAP'"),
        (COCO, 'coco/bbox_map', "did you mean 'coco/bbox_mAP'"),
        (COCO, 'coco/segm_mAP', "did you mean 'coco/bbox_mAP'"),
        (dict(COCO, prefix='val'), 'coco/bbox_mAP', "did you mean 'val/bbox_mAP'"),
        (dict(COCO, metric_items=['mAP_50']), 'coco/bbox_mAP', "did you mean 'coco/bbox_mAP_50'"),
        (dict(COCO, format_only=True), 'coco/bbox_mAP', 'it measures nothing'),
        (VOC, 'coco/bbox_mAP', "did you mean 'pascal_voc/mAP'"),
        (TOP_K, 'accuracy/top2', "did you mean 'accuracy/top"),
        ([COCO, TOP_K], ['coco/bbox_mAP', 'top1'], "did you mean 'accuracy/top1'"),
        (dict(COCO, classwise=True), 'coco/bird_precision', 'not give'),
    ],
)
def test_best_in_what_is_not_measured(evaluator, key, words):
    run = planned(evaluator, dict(save_best=key, rule='greater'))
    with pytest.raises(UserError, match=words):
        check(check_save_best, run)


@pytest.mark.parametrize(
    'evaluator, key',
    [
        (COCO, 'auto'),
        (COCO, 'coco/bbox_mAP_s'),
        (COCO, None),
        (dict(COCO, metric=['proposal', 'bbox']), ['coco/AR@100', 'coco/bbox_mAP']),
        (dict(COCO, classwise=True), 'coco/dog_precision'),
        (VOC, 'pascal_voc/AP75'),
        (dict(VOC, metric='recall'), 'pascal_voc/AR@100'),
        (TOP_K, 'accuracy/top5'),
        # What others measure is not known.
        ([COCO, CUSTOM], 'anything'),
        (dict(type='MultiDatasetsEvaluator', metrics=[COCO], dataset_prefixes=['a']), 'a/coco/x'),
    ],
)
def test_best_in_what_is_measured(evaluator, key):
    check(check_save_best, planned(evaluator, dict(save_best=key, rule='greater')))


def test_other_loops_measure_what_they_will():
    run = planned(COCO, dict(save_best='teacher/coco/bbox_mAP', rule='greater'))
    run.cfg.val_cfg = dict(type='TeacherStudentValLoop')
    check(check_save_best, run)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(interval=0), 'checkpoint.interval is 0: .*-1 to save the last'),
        (dict(interval='2'), "checkpoint.interval is '2'"),
        (dict(save_best=3), 'default_hooks.checkpoint cannot be built: "save_best" should be'),
        (dict(save_best='coco/x', rule='best'), 'cannot be built'),
        (dict(intervall=1), None),  # mmengine hands it to the file's backend
    ],
)
def test_arguments_of_the_checkpoint_hook(options, words):
    run = planned(COCO, options)
    if words is None:
        check(check_save_best, run)
        return
    with pytest.raises(UserError, match=words):
        check(check_save_best, run)


@pytest.mark.parametrize(
    'more, mode, words',
    [
        (dict(val_evaluator=None), 'train', 'val_dataloader and val_cfg without val_evaluator'),
        (dict(val_cfg=None), 'train', 'has val_dataloader and val_evaluator without val_cfg'),
        (dict(val_dataloader=None, val_cfg=None), 'train', 'without val_dataloader and val_cfg'),
        (dict(test_cfg=None), 'train', 'without test_cfg'),
        (dict(optim_wrapper=None), 'test', 'without optim_wrapper'),
        (dict(train_dataloader=dict(batch_size=1)), 'train', 'train_dataloader.dataset is None'),
        (dict(val_dataloader=dict(dataset=None)), 'train', 'val_dataloader.dataset is None'),
        (dict(test_dataloader=dict(dataset='x')), 'test', "test_dataloader.dataset is 'x'"),
        (dict(train_dataloader='x'), 'train', "train_dataloader is 'x'"),
    ],
)
def test_parts_of_a_run_that_are_not_there(more, mode, words):
    with pytest.raises(UserError, match=words):
        check(check_keys, planned(COCO, mode=mode, **more))


@pytest.mark.parametrize(
    'hook, words',
    [
        (dict(interval=1), 'default_hooks.checkpoint.type is None'),
        (dict(type=3), 'default_hooks.checkpoint.type is 3: give the name'),
        (dict(type='no.such.Hook'), "'no.such.Hook', which is not registered"),
        (dict(type='os'), "'os', which is not registered"),
    ],
)
def test_types_that_are_none(hook, words):
    run = planned(COCO, default_hooks=dict(checkpoint=hook))
    with pytest.raises(UserError, match=words):
        check(check_types, run)


def test_a_run_without_evaluation_is_whole():
    check(check_keys, planned(COCO))
    without = dict.fromkeys(('val_dataloader', 'val_cfg', 'val_evaluator'))
    check(check_keys, planned(COCO, **without))


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(std=[0, 0, 0]), r'data_preprocessor.std is \[0, 0, 0\]: .* above 0'),
        (dict(std=[1, 1, -1]), 'data_preprocessor.std'),
        (dict(mean=[0, 0, float('nan')]), 'data_preprocessor.mean is'),
        (dict(mean=[0, 0]), 'the model cannot be built: .*should have 1 or 3 values'),
        (dict(std=[1, 1]), 'the model cannot be built: .*should have 1 or 3 values'),
        (dict(pad_size_divisor=0), 'data_preprocessor.pad_size_divisor is 0'),
    ],
)
@pytest.mark.parametrize('inside', [True, False])
def test_data_preprocessors(options, words, inside):
    preprocessor = dict(type='DetDataPreprocessor', mean=[0, 0, 0], std=[1, 1, 1])
    given = {**preprocessor, **options}
    more = dict(model=dict(RETINA, data_preprocessor=given)) if inside else dict(model=RETINA)
    more |= {} if inside else dict(data_preprocessor=given)
    with pytest.raises(UserError, match=words):
        check(check_model, planned(COCO, **more))
