# Backbone with DN over GroupNorm (8 groups, r=16, g=oup), pretrained on the embedded single-digit
# crops. mbv2_gn_digits.py is its baseline.
_base_ = '../_base_/mbv2_digits.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNGN', num_groups=8, r=16, g='oup', eps=1e-3))
)
