# Backbone with DN-B (r=16, g=oup), pretrained on the embedded single-digit crops.
_base_ = '../_base_/mbv2_digits.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3)))
