# Paper Table 3, row ResNet-18, BN, lr 0.5: 11.22M parameters, 1730.12M multiply-adds. Batch 64, 240
# epochs.
# Accuracy in the paper (%): Train 93.35, Val 86.07, Test 84.64.
_base_ = 'resnet18_bn.py'

optim_wrapper = dict(optimizer=dict(lr=0.5))
