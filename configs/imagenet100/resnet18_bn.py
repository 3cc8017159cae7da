# Paper Table 3, row ResNet-18, BN, lr 0.2: 11.22M parameters, 1730.12M multiply-adds. Batch 64, 240
# epochs.
# Accuracy in the paper (%): Train 94.57, Val 85.89, Test 85.00.
_base_ = '../_base_/imagenet100_resnet.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', eps=1e-3)))
