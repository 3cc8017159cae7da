# Paper Table 3, row ResNet-34, DN-B (16, oup), batch 8: 21.85M parameters, 3580.35M multiply-adds.
# lr 0.2 (the table prints none for ResNet-34), 120 epochs.
# Accuracy in the paper (%): Train 84.86, Val 84.65, Test 83.50.
_base_ = 'resnet34_bn_b8.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=16, g='oup', eps=1e-3, sc_input='raw'))
)
