# Paper Table 8, row DN(16, 1), lr 0.5: 3.03M parameters, 300.34M multiply-adds. Batch 64, 240
# epochs.
# Accuracy in the paper (%): Train 88.69, Val 84.60, Test 83.24.
_base_ = 'mbv2_dnb_r16_g1.py'

optim_wrapper = dict(optimizer=dict(lr=0.5))
