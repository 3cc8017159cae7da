# ImageNet-100 at 224x224 (paper Sec. 4, footnote 1). The lists are written by
# tools/dataset_converters/imagenet100.py: 100 classes, 20% of their training images as val, the
# original validation images as test. Images stay in the ImageNet tree.
dataset_type = 'ImageList'
data_root = 'data/imagenet'
list_root = 'data/imagenet100/'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', size=224),
    dict(type='RandomFlip', prob=0.5),
    # The strength is that of the code that the paper builds on. It offers this transform beside
    # the crop and the flip, with a switch that the paper does not mention.
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4),
    dict(type='PackClassInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # The image is scaled as large as fits: the short edge to 256, the long one as it comes.
    dict(type='Resize', scale=(256, 1000000), keep_ratio=True),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackClassInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    # Every batch statistic is taken over a whole batch.
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=list_root + 'train.txt',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=list_root + 'val.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=list_root + 'test.txt',
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type='TopKAccuracy', topk=(1, 5))
# Table 9 gives the accuracies of these four, the classes that the paper names.
test_evaluator = dict(
    type='TopKAccuracy', topk=(1, 5), classes=('n11939491', 'n01770081', 'n03179701', 'n02088466')
)
