# Paper Table 7, row g=4: MobileNetV2 with DN-B (r=16, g=4), 3.14M parameters, 300.44M
# multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 90.94, Val 83.95, Test 82.32.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g=4, eps=1e-3, sc_input='raw'))
)
