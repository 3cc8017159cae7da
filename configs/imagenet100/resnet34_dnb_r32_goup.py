# Paper Table 3, row ResNet-34, DN-B (32, oup), batch 64: 21.58M parameters, 3580.08M multiply-adds.
# lr 0.2 (the table prints none for ResNet-34), 240 epochs.
# Accuracy in the paper (%): Train 95.17, Val 86.72, Test 85.96.
_base_ = 'resnet34_bn.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNB', r=32, g='oup', eps=1e-3, sc_input='raw'))
)
