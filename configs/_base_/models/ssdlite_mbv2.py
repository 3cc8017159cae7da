# SSDLite with a MobileNetV2 backbone at 320x320, paper Sec. 4.3 and Table 5.
# 4.32M parameters and 0.81G multiply-adds with BN, 6.33M and 0.81G with DN-B (r=16, g='oup').
norm_cfg = dict(type='BN', eps=1e-3)
act_cfg = dict(type='ReLU6')
init_cfg = dict(type='TruncNormal', layer='Conv2d', std=0.03)

# The expansion of the first block of the 160-channel stage, the last convolution, four more.
feature_channels = (576, 1280)
level_channels = (*feature_channels, 512, 256, 256, 128)

# The same pixels as in pretraining: as the paper has it, DN-B's SC-Module sees raw activations, so
# that its backbone, unlike one with BN, is not blind to the scale of its input.
data_preprocessor = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=1,
)

model = dict(
    type='SingleStageDetector',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='MobileNetV2DN',
        out_indices=(5, 7),
        expansion_indices=(5,),
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    neck=dict(
        type='SSDNeck',
        in_channels=feature_channels,
        out_channels=level_channels,
        level_strides=(2, 2, 2, 2),
        level_paddings=(1, 1, 1, 1),
        l2_norm_scale=None,
        use_depthwise=True,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        init_cfg=init_cfg,
    ),
    bbox_head=dict(
        type='SSDLiteHead',
        in_channels=level_channels,
        num_classes=80,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        init_cfg=init_cfg,
        # Base-size ratios 0.2 to 0.95 of 320 pixels; mmdet's generator computes them from the
        # ratios for inputs of 300 and 512 alone.
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16, 32, 64, 107, 160, 320],
            ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
            min_sizes=[32, 64, 121, 179, 236, 294],
            max_sizes=[64, 121, 179, 236, 294, 352],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.6),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=200,
    ),
)
