# Paper Table 4, row DN-8: DN-B (r=16, g=1), 3.03M parameters, 300.34M multiply-adds. lr 0.2, batch
# 8, 120 epochs.
# Accuracy in the paper (%, top-1/top-5): Train 73.81/90.81, Val 79.60/94.01, Test 78.42/92.92.
_base_ = 'mbv2_bn_b8.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g=1, eps=1e-3, sc_input='raw'))
)
