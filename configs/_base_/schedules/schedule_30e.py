# The paper's detection schedule (Sec. 4.3): 30 epochs, lr 0.05 for 2 GPUs of 64 images, divided
# by ten at epochs 18, 25 and 28. RMSprop and the warm-up are those of the code it builds on.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=30, by_epoch=True, milestones=[18, 25, 28], gamma=0.1),
]

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='RMSprop', lr=0.05, eps=1.0, momentum=0.9, weight_decay=4e-5),
)

# For `--auto-scale-lr`: the learning rate above is for this many images in a step.
auto_scale_lr = dict(enable=False, base_batch_size=128)
