# The COCO recipe made small for two CPU cores: MobileNetV2 at half width on 160x160 images of
# the embedded data, anchors scaled with the image, SGD with cosine in place of RMSprop with
# steps, which need more epochs than a demonstration has.
_base_ = 'ssdlite_mbv2_coco.py'

data_root = 'data/digits/'
input_size = (160, 160)
metainfo = dict(
    classes=('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
)
level_channels = (288, 1280, 512, 256, 256, 128)

model = dict(
    backbone=dict(widen_factor=0.5),
    neck=dict(in_channels=level_channels[:2], out_channels=level_channels),
    bbox_head=dict(
        in_channels=level_channels,
        num_classes=10,
        anchor_generator=dict(
            strides=[16, 32, 54, 80, 160, 160],
            min_sizes=[28, 56, 84, 108, 130, 150],
            max_sizes=[56, 84, 108, 130, 150, 160],
        ),
    ),
)

# No flip: a mirrored digit is another sign, or none.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    # Higher overlaps cannot be had with boxes this small and only cost tries.
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3), min_crop_size=0.3),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        filter_cfg=dict(_delete_=True, filter_empty_gt=True),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=25,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

max_epochs = 4
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9, weight_decay=4e-5),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=16)
