# Paper Table 3, row ResNet-18, BN, lr 0.8: 11.22M parameters, 1730.12M multiply-adds. Batch 64, 240
# epochs.
# Accuracy in the paper (%): Train 88.61, Val 84.75, Test 82.88.
_base_ = 'resnet18_bn.py'

optim_wrapper = dict(optimizer=dict(lr=0.8))
