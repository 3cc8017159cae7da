"""A detector small enough to train in seconds, on a COCO set of a few images."""

import contextlib
import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]
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
randomness = dict(seed=0)
{more}
"""


def write_coco(root, train=8, val=4):
    """Images of a bright square each, the class being the size of the square."""
    random = np.random.default_rng(0)
    (root / 'annotations').mkdir(parents=True)
    for split, number in (('train2017', train), ('val2017', val)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(number):
            pixels = random.integers(0, 80, (64, 64, 3), dtype=np.uint8)
            label = i % len(CLASSES)
            x, y, side = 4 + i, 8, 20 + 3 * label
            pixels[y:y + side, x:x + side] = 220
            name = f'{i:03}.jpg'
            Image.fromarray(pixels).save(root / split / name)
            images.append(dict(id=i + 1, file_name=name, height=64, width=64))
            annotations.append(dict(
                id=i + 1, image_id=i + 1, category_id=label + 1, bbox=[x, y, side, side],
                area=side * side, iscrowd=0))
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(
            dict(images=images, annotations=annotations, categories=categories)))


def write_config(folder, norm='dnb', more='', name='tiny.py', data_root=None):
    path = folder / name
    path.write_text(CONFIG.format(
        repository=REPOSITORY, norm=norm, data_root=data_root or folder / 'data', more=more))
    return path


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the data set in data/, a configuration tiny.py, and the process in it."""
    write_coco(tmp_path / 'data')
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder):
    """Every file and folder below a folder, with the hash of what it holds."""
    return {
        str(path.relative_to(folder)):
        hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else 'folder'
        for path in Path(folder).rglob('*')
    }


def environment(**more):
    return {**os.environ, 'PYTHONPATH': str(REPOSITORY), 'PYTHON': sys.executable,
            'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', **more}


def tool(name, *arguments, cwd, **more):
    """Run a tool as a user does."""
    path = REPOSITORY / 'tools' / name
    start = ['bash', str(path)] if name.endswith('.sh') else [sys.executable, str(path)]
    return subprocess.run(
        [*start, *map(str, arguments)], cwd=cwd, env=environment(**more), capture_output=True,
        text=True, timeout=100)


@pytest.fixture
def refused(monkeypatch, capsys, request):
    """Run a tool in this process, expect it to refuse, and return its sentence.

    It is the tool's own file, from its arguments to its exit status, without the seconds that a
    new process needs to import everything.
    """
    def run(name, *arguments, folder):
        before = snapshot(folder)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        # Set by the tool, and to be undone.
        for variable in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'LOCAL_RANK'):
            monkeypatch.setenv(variable, '')
            monkeypatch.delenv(variable)
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop, contextlib.suppress(RuntimeWarning):
            runpy.run_path(str(REPOSITORY / 'tools' / name), run_name='__main__')
        error = capsys.readouterr().err
        assert stop.value.code == 1
        assert 'Traceback' not in error
        lines = [line for line in error.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1, error
        assert snapshot(folder) == before
        return lines[0]

    return run
