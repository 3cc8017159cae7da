# Paper Tables 1, 2, 4 and 8, row BN (BN-64): MobileNetV2 with BN, 2.35M parameters, 299.62M
# multiply-adds. lr 0.2, batch 64, 240 epochs.
# Accuracy in the paper (%): Train 86.48, Val 83.61, Test 82.50. Top-1/top-5 in Table 4:
# 86.48/96.45, 83.61/95.54, 82.50/94.80.
# COCO pretraining: the source of checkpoints/mbv2_bn_imagenet100.pth.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN', eps=1e-3)))
