# Paper Table 3, row ResNet-34, BN, batch 64: 21.33M parameters, 3579.81M multiply-adds. lr 0.2 (the
# table prints none for ResNet-34), 240 epochs.
# Accuracy in the paper (%): Train 94.98, Val 86.89, Test 85.84.
_base_ = '../_base_/imagenet100_resnet.py'

model = dict(backbone=dict(depth=34, norm_cfg=dict(_delete_=True, type='BN', eps=1e-3)))
