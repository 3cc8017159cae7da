# Paper Table 6, row r=32: MobileNetV2 with DN-B (r=32, g=1), 2.69M parameters, 300.00M
# multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 91.28, Val 85.34, Test 83.36.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=32, g=1, eps=1e-3, sc_input='raw'))
)
