# Paper Table 4, row BN-64-32: the checkpoint of mbv2_bn.py, tested with batch 32; 2.35M parameters,
# 299.62M multiply-adds. lr 0.2, batch 64 in training, 240 epochs.
# Accuracy in the paper (%, top-1/top-5): Train 86.48/96.45, Val 83.61/95.54, Test 82.50/94.80.
_base_ = 'mbv2_bn.py'

test_dataloader = dict(batch_size=32)
