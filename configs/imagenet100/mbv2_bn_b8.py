# Paper Table 4, row BN-8: 2.35M parameters, 299.62M multiply-adds. lr 0.2, batch 8, 120 epochs.
# Accuracy in the paper (%, top-1/top-5): Train 1.00/4.95, Val 2.50/12.04, Test none. It does not
# train.
_base_ = 'mbv2_bn.py'

max_epochs = 120
train_dataloader = dict(batch_size=8)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
auto_scale_lr = dict(base_batch_size=8)
