"""Work folders as tools/train.py leaves them, small."""

import json

import pytest

from dn_mmdet.utils.python39 import zip_strict

# As Config.dump writes a complete configuration.
CONFIG = """custom_imports = dict(
    allow_failed_imports=False, imports=[
        'dn_mmdet',
    ])
data_root = '{data_root}'
default_hooks = dict(
    checkpoint=dict(interval=1, save_best='coco/bbox_mAP', type='AtomicCheckpointHook'),
    logger=dict(interval=50, type='LoggerHook'))
default_scope = 'mmdet'
launcher = 'none'
load_from = {load_from!r}
max_epochs = {epochs}
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='{checkpoint}', prefix='backbone.', type='Pretrained'),
        norm_cfg={norm},
        out_indices=(7, ),
        type='MobileNetV2DN',
        widen_factor=0.25),
    bbox_head=dict(num_classes={classes}, type='SSDLiteHead'),
    type='SingleStageDetector')
optim_wrapper = dict(
    optimizer=dict(lr={lr}, momentum=0.9, type='SGD'), type='OptimWrapper')
randomness = dict({seed})
resume = {resume}
train_cfg = dict(max_epochs={epochs}, type='EpochBasedTrainLoop', val_interval=1)
train_dataloader = dict(batch_size={batch}, num_workers=1)
val_dataloader = dict(
    batch_size=25,
    dataset=dict(
        ann_file='annotations/instances_val2017.json',
        data_root='{data_root}',
        metainfo=dict(classes=(
            'zero',
            'one',
        )),
        type='CocoDataset'))
val_evaluator = dict(
    ann_file='{data_root}annotations/instances_val2017.json', type='CocoMetric')
work_dir = '{work_dir}'
"""
LOG = (
    '2026/01/01 00:00:00 - mmengine - INFO - '
    """
------------------------------------------------------------
System environment:
    sys.platform: linux
    Python: 3.11.7 (main, May  9 2026, 07:35:25) [GCC 12.2.0]
    CUDA available: False
    PyTorch: {torch}
    PyTorch compiling details: PyTorch built with:
  - GCC 13.3
  - OpenMP 201511 (a.k.a. OpenMP 4.5)

    MMEngine: 0.10.7

Runtime environment:
    cudnn_benchmark: True
    dist_cfg: {{'backend': 'nccl'}}
    seed: {drawn}
    GPU number: 1
------------------------------------------------------------

2026/01/01 00:00:00 - mmengine - INFO - Config:
act_cfg = dict(type='ReLU6')

2026/01/01 00:00:01 - mmengine - INFO - Epoch(train) [1][ 50/100]  lr: 5.0e-02  loss: 4.0
"""
)
DEFAULTS = dict(
    norm="dict(eps=0.001, type='BN')",
    checkpoint='work_dirs/mbv2/epoch_3.pth',
    lr=0.05,
    epochs=3,
    classes=10,
    batch=16,
    data_root='data/digits/',
    load_from=None,
    resume=False,
)
BN = DEFAULTS['norm']
# The paper's form.
DNB = "dict(eps=0.001, g='oup', r=16, sc_input='raw', type='DNB')"


def start_of(
    folder,
    maps,
    first_epoch=1,
    stamp='20260101_000000',
    seed=0,
    drawn=7,
    torch='2.13.0+cpu',
    log_tail='',
    scalars_tail='',
    extra=None,
    rows=True,
    **config,
):
    """One start of a run: two training rows of 50 iterations and an evaluation for each mAP."""
    vis = folder / stamp / 'vis_data'
    vis.mkdir(parents=True)
    settings = {
        **DEFAULTS,
        'work_dir': f'work_dirs/{folder.name}',
        'seed': '' if seed is None else f'seed={seed}',
        **config,
    }
    (vis / 'config.py').write_text(CONFIG.format(**settings))
    (folder / stamp / f'{stamp}.log').write_text(LOG.format(torch=torch, drawn=drawn) + log_tail)
    lines = []
    for epoch, value in enumerate(maps, first_epoch):
        for part in (1, 2):
            step = 100 * (epoch - 1) + 50 * part
            lines.append(
                dict(
                    lr=0.05,
                    data_time=0.02,
                    loss=4.0 / epoch,
                    time=0.1 * part,
                    epoch=epoch,
                    iter=step,
                    step=step,
                )
            )
        lines.append(
            {
                'coco/bbox_mAP': value,
                'coco/bbox_mAP_50': value * 1.5,
                'coco/bbox_mAP_s': -1.0,
                **(extra or {}),
                'data_time': 0.03,
                'time': 0.2,
                'step': epoch,
            }
        )
    if rows:
        (vis / 'scalars.json').write_text(
            ''.join(json.dumps(line) + '\n' for line in lines) + scalars_tail
        )
    return str(folder)


@pytest.fixture
def make_run(tmp_path):
    """Write a work folder below ``tmp_path`` and return its path as a text."""
    return lambda name, maps, **settings: start_of(tmp_path / name, maps, **settings)


@pytest.fixture
def three_seeds(make_run):
    """BN and DN-B with seeds 0, 1, 2: differences of 0.02, 0.03 and 0.04 at the last epoch."""
    ends = {0: (0.40, 0.42), 1: (0.41, 0.44), 2: (0.39, 0.43)}
    return [
        make_run(
            f'{name}_seed{seed}',
            [0.1, 0.2 + seed / 100, value],
            seed=seed,
            norm=norm,
            checkpoint=f'work_dirs/{name}_pre_seed{seed}/epoch_2.pth',
        )
        for seed, values in ends.items()
        for name, norm, value in zip_strict(('bn', 'dnb'), (BN, DNB), values)
    ]
