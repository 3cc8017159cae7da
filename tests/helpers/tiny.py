"""Detectors and classifiers small enough to train in seconds, and the data for them."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
# After which a started tool hangs; a loaded machine takes a minute for what takes ten seconds.
SECONDS = 300
CLASSES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')

# No random step in the pipeline, so that a resumed run sees what an uninterrupted one does.
CONFIG = """
_base_ = '{repository}/configs/digits/ssdlite_mbv2_{norm}_digits.py'
data_root = '{data_root}/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(**loader, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
model = dict(backbone=dict(init_cfg=None))
train_cfg = dict(max_epochs=2)
# The digits' rates, whose warm-up is longer than this run.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end_factor=0.155, by_epoch=False, begin=0, end=4)
]
default_hooks = dict(checkpoint=dict(save_best=None))
randomness = dict(seed=0)
{more}
"""


def write_coco(root, train=8, val=4):
    """Images of a bright square each, the class being the size of the square.

    The last image for training has boxes of the classes that no other one has.
    """
    random = np.random.default_rng(0)
    (root / 'annotations').mkdir(parents=True)
    for split, number in (('train2017', train), ('val2017', val)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(number):
            pixels = random.integers(0, 80, (64, 64, 3), dtype=np.uint8)
            label = i % len(CLASSES)
            x, y, side = 4 + i, 8, 20 + 3 * label
            pixels[y : y + side, x : x + side] = 220
            name = f'{i:03}.jpg'
            Image.fromarray(pixels).save(root / split / name)
            images.append(dict(id=i + 1, file_name=name, height=64, width=64))
            annotations.append(
                dict(
                    id=i + 1,
                    image_id=i + 1,
                    category_id=label + 1,
                    bbox=[x, y, side, side],
                    area=side * side,
                    iscrowd=0,
                )
            )
        for label in range(number, len(CLASSES) if split == 'train2017' else 0):
            more = dict(id=label + 1, category_id=label + 1, bbox=[2, 30, 20, 20 + label])
            annotations.append(annotations[-1] | more)
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        (root / 'annotations' / f'instances_{split}.json').write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )


def write_config(folder, norm='dnb', more='', name='tiny.py', data_root=None):
    path = folder / name
    path.write_text(
        CONFIG.format(
            repository=REPOSITORY, norm=norm, data_root=data_root or folder / 'data', more=more
        )
    )
    return path


CLASSIFIER = """
_base_ = '{repository}/configs/digits/mbv2_{norm}_digits.py'
loader = dict(batch_size=5, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loader, dataset=dict(data_root='{data_root}'))
val_dataloader = dict(**loader, dataset=dict(data_root='{data_root}'))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
default_hooks = dict(checkpoint=dict(save_best=None))
"""


def write_image_folder(root, number=1):
    """One folder a class, each with images of one grey value."""
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i in range(number):
            pixels = np.full((32, 32, 3), 20 * label + i, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f'{i}.png')


def write_classifier(folder, norm='dnb', name='classifier.py', data_root=None):
    path = folder / name
    path.write_text(
        CLASSIFIER.format(repository=REPOSITORY, norm=norm, data_root=data_root or folder / 'crops')
    )
    return path


def snapshot(folder):
    """Every file and folder below a folder, with the hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else 'folder'
        for path in Path(folder).rglob('*')
    }


def environment(**more):
    return {
        **os.environ,
        'PYTHONPATH': str(REPOSITORY),
        'PYTHON': sys.executable,
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '-1',
        **more,
    }


def run_tool(name, *arguments, cwd, **more):
    """Run a tool as a user does."""
    path = REPOSITORY / 'tools' / name
    start = ['bash', str(path)] if name.endswith('.sh') else [sys.executable, str(path)]
    return subprocess.run(
        [*start, *map(str, arguments)],
        cwd=cwd,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
