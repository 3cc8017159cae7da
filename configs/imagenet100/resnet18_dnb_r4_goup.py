# Paper Table 3, row ResNet-18, DN-B (4, oup), lr 0.2: 12.52M parameters, 1731.43M multiply-adds.
# Batch 64, 240 epochs.
# Accuracy in the paper (%): Train 94.19, Val 85.58, Test 84.36.
_base_ = '../_base_/imagenet100_resnet.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=4, g='oup', eps=1e-3, sc_input='raw'))
)
