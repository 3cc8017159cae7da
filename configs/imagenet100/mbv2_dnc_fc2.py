# Paper Table 1, row DN-C (2): MobileNetV2 with DN-C (r=16), the branches of E[X] and Std[X] added
# after the second FC, 3.03M parameters, 301.05M multiply-adds. lr 0.1 (the footnote), batch 64, 240
# epochs.
# Accuracy in the paper (%): Train NAN, Val NAN, Test none. It does not train.
_base_ = '../_base_/imagenet100_mbv2.py'

model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='DNC', fuse='fc2', r=16, g=1, eps=1e-3))
)
optim_wrapper = dict(optimizer=dict(lr=0.1))
