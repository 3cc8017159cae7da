# SSDLite with DN over GroupNorm (8 groups, r=16, g=oup) in the backbone, on the embedded digits: an
# arm of `make compare ARGS="--arms gn dngn"`, and with `--extra` at batch size 2.
_base_ = '../_base_/ssdlite_mbv2_digits.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='DNGN', num_groups=8, r=16, g='oup', eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mbv2_dngn_digits/epoch_3.pth',
            prefix='backbone.',
        ),
    )
)
