# Paper Table 6, row r=8: MobileNetV2 with DN-B (r=8, g=1), 3.72M parameters, 301.02M multiply-adds.
# lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 91.20, Val 85.30, Test 84.26.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=8, g=1, eps=1e-3, sc_input='raw'))
)
