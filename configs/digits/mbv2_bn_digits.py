# Backbone with BN, pretrained on the embedded single-digit crops.
_base_ = '../_base_/mbv2_digits.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', eps=1e-3)))
