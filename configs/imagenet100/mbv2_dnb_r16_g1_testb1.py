# Paper Table 4, row DN-64-1: the checkpoint of mbv2_dnb_r16_g1.py, tested with batch 1; 3.03M
# parameters, 300.34M multiply-adds. lr 0.2, batch 64 in training, 240 epochs.
# Accuracy in the paper (%, top-1/top-5): Train 73.81/90.81, Val 79.60/94.01, Test 83.92/94.94.
# (Train and Val are printed as those of row DN-8, where the other test batches have 91.62/97.74 and
# 85.63/95.92: a misprint, it seems.)
_base_ = 'mbv2_dnb_r16_g1.py'

test_dataloader = dict(batch_size=1)
