# Paper Table 3, row ResNet-34, DN-B (16, oup), batch 4: 21.85M parameters, 3580.35M multiply-adds.
# lr 0.2 (the table prints none for ResNet-34), 60 epochs.
# Accuracy in the paper (%): Train 75.14, Val 78.41, Test 77.10.
_base_ = 'resnet34_bn_b4.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3, sc_input='raw'))
)
