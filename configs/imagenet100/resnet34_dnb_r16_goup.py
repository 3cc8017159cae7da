# Paper Table 3, row ResNet-34, DN-B (16, oup), batch 64: 21.85M parameters, 3580.35M multiply-adds.
# lr 0.2 (the table prints none for ResNet-34), 240 epochs.
# Accuracy in the paper (%): Train 95.02, Val 86.97, Test 85.42.
_base_ = 'resnet34_bn.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3, sc_input='raw'))
)
