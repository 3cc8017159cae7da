# Paper Table 8, row BN, lr 0.5: 2.35M parameters, 299.62M multiply-adds. Batch 64, 240 epochs.
# Accuracy in the paper (%): Train 71.43, Val 75.85, Test 74.12.
_base_ = 'mbv2_bn.py'

optim_wrapper = dict(optimizer=dict(lr=0.5))
