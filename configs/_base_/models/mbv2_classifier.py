# The paper's MobileNetV2 classifier (Sec. 4.1): 2.35M parameters, 299.62M multiply-adds with BN
# at 224x224 and 100 classes.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='MobileNetV2DN', out_indices=(7,), norm_cfg=dict(type='BN', eps=1e-3)),
    num_classes=100,
    in_channels=1280,
)
