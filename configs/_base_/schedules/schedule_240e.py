# The paper's classification schedule (Sec. 4.1, Tables 1 to 8): 240 epochs, lr 0.2 for 64 images
# in a step, cosine to 0, updated at every iteration. Momentum, weight decay and the cosine are
# those of the code that it builds on.
max_epochs = 240
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

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

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.2, momentum=0.9, weight_decay=4e-5)
)

# For `--auto-scale-lr`: the learning rate above is for this many images in a step.
auto_scale_lr = dict(enable=False, base_batch_size=64)
