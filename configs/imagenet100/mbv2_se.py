# Paper Table 2, row SE: squeeze-and-excitation in front of every BN of MobileNetV2 (r=16), 3.73M
# parameters, 300.98M multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 89.96, Val 83.90, Test 82.00.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='SEBN', r=16, eps=1e-3)))
