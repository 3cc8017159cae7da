"""A stand-in for tools/train.py that prints what mmengine logs and writes what it saves."""

from pathlib import Path

import pytest

from dn_mmdet.runs import Training
from tests.helpers.tool_runs import place, refused  # noqa: F401
from tests.helpers.work_folders import make_run, three_seeds  # noqa: F401

CONFIG = """
train_cfg = dict(max_epochs=2)
data = dict(root='data')
mode = '{mode}'
lr = {lr}
"""

# `mode` of the configuration: 'ok', 'fail' in the second epoch, or 'hang' there. It leaves what
# it was given in given.txt, and in seen.txt how many ran beside it.
TRAIN = """
import os, pathlib, sys, time
settings = {}
exec(pathlib.Path(sys.argv[1]).read_text(), settings)
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with open(folder / 'given.txt', 'a') as file:
    file.write(' '.join([os.environ.get('OMP_NUM_THREADS', '-'), *sys.argv[2:]]) + chr(10))
for epoch in range(1, 3):
    file = folder / f'epoch_{epoch}.pth'
    if file.exists() and '--resume' in sys.argv:
        continue
    print(f'x - INFO - Epoch(train)  [{epoch}][ 5/10]  lr: 1.0e-02  eta: 0:01  loss: 2.5',
          flush=True)
    print(f'x - INFO - Epoch(val) [{epoch}][10/10]    coco/bbox_mAP: 0.1{epoch}0  time: 1')
    if epoch == 2 and settings['mode'] == 'fail':
        sys.exit('error: the disk is full')
    if epoch == 2 and settings['mode'] == 'hang':
        time.sleep(60)
    file.write_text('weights')
    (folder / 'last_checkpoint').write_text(str(file.resolve()))
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Write a configuration and return its training."""
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').write_text(TRAIN)
    monkeypatch.setattr('dn_mmdet.runs.launch.tools_root', lambda: tmp_path / 'tools')
    monkeypatch.setattr('dn_mmdet.runs.launch.GRACE', 0.1)
    monkeypatch.chdir(tmp_path)

    def training(name, mode='ok', seed=0, **settings):
        config = tmp_path / f'{name.replace(" ", "_")}.py'
        config.write_text(CONFIG.format(lr=0.1, mode=mode))
        return Training(name, config, Path('work_dirs') / config.stem, seed, **settings)

    return training
