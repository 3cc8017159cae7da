# Paper Table 5, row BN: 4.32M parameters, 0.81G multiply-adds, 15.3 mAP (the paper's figure).
_base_ = '_base_/ssdlite_mbv2_coco.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='BN', eps=1e-3),
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/mbv2_bn_imagenet100.pth', prefix='backbone.'
        ),
    )
)
