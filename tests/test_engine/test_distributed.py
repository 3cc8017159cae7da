"""Two processes on CPU, started by the shell scripts."""

import json

import pytest
import torch

from dn_mmdet.engine.distributed import on_rank_zero
from dn_mmdet.engine.launch import launch
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import REPOSITORY, environment, run_tool, snapshot, write_coco, write_config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder in which two processes trained one epoch, with --amp and --auto-scale-lr.

    Were the stages that stand still not frozen before DistributedDataParallel wraps the model, the
    second iteration would end the run.
    """
    folder = tmp_path_factory.mktemp('distributed')
    write_coco(folder / 'data')
    write_config(folder)
    done = run_tool(
        'dist_train.sh',
        'tiny.py',
        2,
        '--work-dir',
        'work',
        '--amp',
        '--auto-scale-lr',
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=2',
        'model.backbone.frozen_stages=1',
        'param_scheduler=None',
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_train(trained):
    checkpoint = torch.load(trained / 'work/epoch_1.pth', weights_only=True)
    # 8 images in 2 processes of 2 images.
    assert checkpoint['meta']['iter'] == 2
    assert not any(key.startswith('module.') for key in checkpoint['state_dict'])
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    # 0.05 for 16 images; here are 4.
    assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.05 / 4)
    config = (trained / 'work/tiny.py').read_text()
    assert "type='CPUAmpOptimWrapper'" in config
    assert not (trained / '.dist_test').exists()


def test_two_processes_test(trained):
    done = run_tool(
        'dist_test.sh', 'tiny.py', 'work/epoch_1.pth', 2, '--work-dir', 'tested', cwd=trained
    )
    assert done.returncode == 0, done.stderr
    metrics = [json.loads(path.read_text()) for path in (trained / 'tested').glob('*/*.json')]
    assert len(metrics) == 1
    assert 'coco/bbox_mAP' in metrics[0]


def test_one_process_speaks_for_all(trained, monkeypatch, capfd):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('PYTHONWARNINGS', 'ignore')  # of other packages, once in each process
    monkeypatch.chdir(trained)
    before = snapshot(trained)
    tool = str(REPOSITORY / 'tools/train.py')
    status = launch('2', [tool, 'tiny.py', '--launcher', 'pytorch', '--resume', 'gone.pth'])
    assert status == 1
    assert capfd.readouterr().err == (
        'error: the checkpoint gone.pth of --resume does not exist: check the path.\n'
    )
    assert snapshot(trained) == before


@pytest.mark.parametrize(
    'script, arguments',
    [('dist_train.sh', ['tiny.py']), ('dist_test.sh', ['tiny.py', 'work/epoch_1.pth'])],
)
def test_usage(script, arguments, tmp_path):
    done = run_tool(script, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')


def test_more_processes_than_gpus(monkeypatch):
    """Every process refuses, in one sentence, before it touches a device."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError, match='3 GPUs were requested, but this machine has 2'):
        on_rank_zero({'launcher': 'pytorch'}, lambda: pytest.fail('called'))
