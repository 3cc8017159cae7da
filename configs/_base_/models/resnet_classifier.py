# The paper's ResNet-18 classifier (Sec. 4.1): 11.22M parameters, 1730.12M multiply-adds with BN at
# 224x224 and 100 classes. ResNet-34: model = dict(backbone=dict(depth=34)).
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='ResNetDN', depth=18, out_indices=(3,), norm_cfg=dict(type='BN', eps=1e-3)),
    num_classes=100,
    in_channels=512,
)
