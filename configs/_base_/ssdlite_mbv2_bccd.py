# The COCO recipe on BCCD, 364 photographs of blood cells in Pascal VOC's XML: the paper's schedule
# and 320 pixels, SGD and batches for 292 images, and a backbone with ImageNet's BN weights.
_base_ = 'ssdlite_mbv2_in1k_coco.py'

data_root = 'data/bccd/'
metainfo = dict(classes=('RBC', 'WBC', 'Platelets'))

model = dict(bbox_head=dict(num_classes=3))

test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(320, 320), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        # CocoMetric takes the true boxes from 'instances': there is no COCO file.
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]

common = dict(
    _delete_=True,
    type='XMLDataset',
    data_root=data_root,
    # XMLDataset looks for Annotations and JPEGImages here, below data_root.
    data_prefix=dict(sub_data_root=''),
    metainfo=metainfo,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        **common,
        ann_file='ImageSets/Main/trainval.txt',
        # Two boxes of the data set have no size.
        filter_cfg=dict(filter_empty_gt=True, min_size=32, bbox_min_size=1),
        pipeline={{_base_.train_pipeline}},
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    dataset=dict(
        **common,
        ann_file='ImageSets/Main/test.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.02, momentum=0.9, weight_decay=4e-5)
)
param_scheduler = [
    # An epoch has 36 steps.
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=36),
    dict(type='MultiStepLR', begin=0, end=30, by_epoch=True, milestones=[18, 25, 28], gamma=0.1),
]
auto_scale_lr = dict(base_batch_size=8)
