# The runtime of the ImageNet-100 configurations.
_base_ = 'default_runtime.py'
default_scope = 'mmengine'

default_hooks = dict(
    # The paper's "Val (best)" picks the checkpoint.
    checkpoint=dict(save_best='accuracy/top1', rule='greater'),
    # With the last line of an epoch logged, its training accuracy is the whole epoch's: the
    # paper's "Train (last)".
    logger=dict(ignore_last=False),
)
log_processor = dict(
    custom_cfg=[
        dict(data_src=f'accuracy_top{k}', method_name='mean', window_size='epoch') for k in (1, 5)
    ]
)
