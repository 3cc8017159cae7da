# Paper Table 7, row g=2: MobileNetV2 with DN-B (r=16, g=2), 3.07M parameters, 300.37M
# multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 90.81, Val 84.08, Test 82.42.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g=2, eps=1e-3, sc_input='raw'))
)
