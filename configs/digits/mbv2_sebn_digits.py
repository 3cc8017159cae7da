# Backbone with SE in front of each BN (r=16, Table 2), pretrained on the embedded single-digit
# crops.
_base_ = '../_base_/mbv2_digits.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='SEBN', r=16, eps=1e-3)))
