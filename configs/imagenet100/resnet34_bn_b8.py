# Paper Table 3, row ResNet-34, BN, batch 8: 21.33M parameters, 3579.81M multiply-adds. lr 0.2 (the
# table prints none for ResNet-34), 120 epochs.
# Accuracy in the paper (%): Train 83.76, Val 83.51, Test 82.32.
_base_ = 'resnet34_bn.py'

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
