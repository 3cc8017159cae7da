# Paper Table 3, row ResNet-18, DN-B (4, oup), lr 0.5: 12.52M parameters, 1731.43M multiply-adds.
# Batch 64, 240 epochs.
# Accuracy in the paper (%): Train 93.05, Val 85.75, Test 85.34.
_base_ = 'resnet18_dnb_r4_goup.py'

optim_wrapper = dict(optimizer=dict(lr=0.5))
