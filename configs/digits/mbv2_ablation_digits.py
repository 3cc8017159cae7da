# One cell of the ablations (Tables 1, 2, 4, 6, 7 and 8 in small): BN, batch 64. The network is a
# MobileNetV2 of quarter width with one block in each stage (22 norms) and two strides less, on the
# embedded single-digit crops at 40x40. `make ablations` varies norm, learning rate, batch and seed.
_base_ = '../_base_/mbv2_digits.py'

max_iters = 400
model = dict(
    backbone=dict(
        widen_factor=0.25, num_blocks=(1, 1, 1, 1, 1, 1, 1), strides=(1, 2, 2, 1, 1, 1, 1)
    )
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', size=40, area_range=(0.5, 1.0)),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(40, 40)),
    dict(type='PackClassInputs'),
]
# Cells run side by side, one on each core, so that a loader process of its own gains nothing.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters
)
param_scheduler = [
    dict(type='CosineAnnealingLR', begin=0, end=max_iters, T_max=max_iters, by_epoch=False)
]
default_hooks = dict(
    checkpoint=dict(interval=max_iters, by_epoch=False, save_best=None, max_keep_ckpts=1)
)
log_processor = dict(by_epoch=False)
