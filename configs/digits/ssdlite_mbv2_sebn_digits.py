# SSDLite with SE in front of each BN of the backbone (r=16, Table 2), on the embedded digits: an
# arm of `make compare`.
_base_ = '../_base_/ssdlite_mbv2_digits.py'

model = dict(
    backbone=dict(
        norm_cfg=dict(_delete_=True, type='SEBN', r=16, eps=1e-3),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/mbv2_sebn_digits/epoch_3.pth',
            prefix='backbone.',
        ),
    )
)
