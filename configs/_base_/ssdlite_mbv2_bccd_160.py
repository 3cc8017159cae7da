# The same at 160 pixels, for two CPU cores. Cells are found on maps of 10 x 10 and 5 x 5 alone:
# anchors have the size of cells (red ones 26 x 34, white ones 50 x 60), and images are not zoomed
# out (`Expand`).
_base_ = 'ssdlite_mbv2_bccd.py'

input_size = (160, 160)

model = dict(
    bbox_head=dict(
        anchor_generator=dict(
            strides=[16, 32, 54, 80, 160, 160],
            min_sizes=[28, 56, 84, 108, 130, 150],
            max_sizes=[56, 84, 108, 130, 150, 160],
        )
    )
)

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=input_size, keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances'),
    ),
]
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
