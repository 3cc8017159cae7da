# Paper Tables 1, 2, 4, 6, 7 and 8, row DN-B (16, 1) (DN-64): MobileNetV2 with DN-B (r=16, g=1),
# 3.03M parameters, 300.34M multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 91.62, Val 85.63, Test 84.08. Top-1/top-5 in Table 4:
# 91.62/97.74, 85.63/95.92, 84.08/94.78.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g=1, eps=1e-3, sc_input='raw'))
)
