# SSDLite with BN in the backbone, on the embedded digits: the demonstration's run.
_base_ = '../_base_/ssdlite_mbv2_digits.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='BN', eps=1e-3),
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/mbv2_bn_digits/epoch_3.pth', prefix='backbone.'
        ),
    )
)
