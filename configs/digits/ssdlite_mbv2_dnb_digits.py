# SSDLite with DN-B (r=16, g=oup) in the backbone, on the embedded digits: the demonstration's run.
_base_ = '../_base_/ssdlite_mbv2_digits.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mbv2_dnb_digits/epoch_3.pth',
            prefix='backbone.',
        ),
    )
)
