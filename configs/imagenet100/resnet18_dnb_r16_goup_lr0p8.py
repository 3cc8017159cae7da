# Paper Table 3, row ResNet-18, DN-B (16, oup), lr 0.8: 11.54M parameters, 1730.45M multiply-adds.
# Batch 64, 240 epochs.
# Accuracy in the paper (%): Train 92.56, Val 85.85, Test 84.78.
_base_ = 'resnet18_bn_lr0p8.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3, sc_input='raw'))
)
