# Paper Table 4, row DN-64-32: the checkpoint of mbv2_dnb_r16_g1.py, tested with batch 32; 3.03M
# parameters, 300.34M multiply-adds. lr 0.2, batch 64 in training, 240 epochs.
# Accuracy in the paper (%, top-1/top-5): Train 91.62/97.74, Val 85.63/95.92, Test 84.08/94.78.
_base_ = 'mbv2_dnb_r16_g1.py'

test_dataloader = dict(batch_size=32)
