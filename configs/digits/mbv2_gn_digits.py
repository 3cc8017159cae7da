# Backbone with GroupNorm, pretrained on the embedded single-digit crops. 8 groups divide every
# width of the network.
_base_ = '../_base_/mbv2_digits.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='GN', num_groups=8, eps=1e-3)))
