"""Two processes on CPU, started by the shell scripts: on one machine, on two."""

import json
import os
import socket
import subprocess

import pytest
import torch

from dn_mmdet.engine.distributed import on_rank_zero
from dn_mmdet.engine.launch import launch
from dn_mmdet.experiments.chaos import run_chaos
from dn_mmdet.utils.errors import UserError
from tests.helpers.rank_weights import CONFIG, assert_same_weights
from tests.helpers.tiny import (
    REPOSITORY,
    SECONDS,
    environment,
    run_tool,
    snapshot,
    write_coco,
    write_config,
)

OPTIONS = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=2')
FAULTY = """
loader = dict(batch_size=2, num_workers=1, persistent_workers=True)
train_dataloader.update(loader)
val_dataloader.update(loader)
train_cfg = dict(max_epochs=10, val_interval=10)
default_hooks.update(checkpoint=dict(interval=5, save_best=None))
"""
KINDS = ('a process that loads data killed', 'the launcher killed')
MACHINES = {'NNODES': '2', 'MASTER_ADDR': '127.0.0.1'}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder in which two machines of one process trained an epoch, --amp and --auto-scale-lr.

    Were the stages that stand still not frozen before DistributedDataParallel wraps the model, the
    second iteration would end the run.
    """
    folder = tmp_path_factory.mktemp('distributed')
    write_coco(folder / 'data')
    write_config(folder, more=CONFIG)
    port = str(free_port())
    command = ['tiny.py', '--amp', '--auto-scale-lr', *OPTIONS]
    command += ['model.backbone.frozen_stages=1', 'param_scheduler=None']
    second = subprocess.Popen(
        [REPOSITORY / 'tools/dist_train.sh', command[0], '1', '--work-dir', 'work1', *command[1:]],
        cwd=folder,
        env=environment(**MACHINES, PORT=port, NODE_RANK='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            for name, value in environment(**MACHINES, PORT=port, NODE_RANK='0').items():
                patch.setenv(name, value)
            tool = str(REPOSITORY / 'tools/train.py')
            assert not launch('1', [tool, *command, '--work-dir', 'work0', '--launcher', 'pytorch'])
        output, _ = second.communicate(timeout=SECONDS)
        assert second.returncode == 0, output
    finally:
        second.kill()
    return folder


def free_port():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        return taken.getsockname()[1]


def test_two_machines_have_the_same_weights_and_the_first_writes_them(trained):
    assert_same_weights(trained)
    assert [path.parent.name for path in trained.glob('work*/*.pth')] == ['work0']


def test_two_processes_train(trained):
    checkpoint = torch.load(trained / 'work0/epoch_1.pth', weights_only=True)
    # 8 images in 2 processes of 2 images.
    assert checkpoint['meta']['iter'] == 2
    assert not any(key.startswith('module.') for key in checkpoint['state_dict'])
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    # 0.05 for 16 images; here are 4.
    assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(0.05 / 4)
    config = (trained / 'work0/tiny.py').read_text()
    assert "type='CPUAmpOptimWrapper'" in config
    assert not (trained / '.dist_test').exists()


def test_two_processes_test(trained):
    done = run_tool(
        'dist_test.sh', 'tiny.py', 'work0/epoch_1.pth', 2, '--work-dir', 'tested', cwd=trained
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


@pytest.mark.skipif('DN_MMDET_FAULTS' not in os.environ, reason='takes minutes: DN_MMDET_FAULTS=1')
def test_faults_in_a_run_lose_nothing(tmp_path, monkeypatch, capsys):
    """A process that loads data is killed, which ends its run: torchrun begins anew.

    Then torchrun is killed, whose processes would train on for nobody. All ends as in a calm run.
    """
    write_coco(tmp_path / 'data')
    config = str(write_config(tmp_path, more=FAULTY))
    for name, value in environment(PET_MAX_RESTARTS='1').items():
        monkeypatch.setenv(name, value)
    options = {'env_cfg.dist_cfg.timeout': SECONDS}  # a loaded machine is slow to start
    # With this seed they come in that order, each behind the first step of a start.
    run_chaos(
        tmp_path / 'runs', config, 2, SECONDS, 2, every=0, kinds=KINDS, seed=2, cfg_options=options
    )
    found = json.loads((tmp_path / 'runs/chaos.json').read_text())
    assert [(fault['kind'], fault['ended']) for fault in found['faults']] == [
        (KINDS[0], False),
        (KINDS[1], True),
    ]
    said = (tmp_path / 'runs/run_1.log').read_text()
    assert 'error: a data loader process was killed' in said
    assert 'interrupted: the same command with --resume continues' in said
    assert '1 of 1 runs ended as the calm one, bit for bit.' in capsys.readouterr().out


@pytest.mark.parametrize(
    'script, arguments',
    [
        ('dist_train.sh', ['tiny.py']),
        ('dist_test.sh', ['tiny.py', 'epoch_1.pth']),
        ('slurm_train.sh', ['gpu', 'name', 'tiny.py']),
        ('slurm_test.sh', ['gpu', 'name', 'tiny.py']),
    ],
)
def test_usage(script, arguments, tmp_path):
    done = run_tool(script, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith('usage: ')


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in (MACHINES | dict(NODE_RANK='0', PORT=port)).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f'the port {port} of this machine is taken'):
            launch('1', ['script.py'])


@pytest.mark.parametrize(
    'launcher, size', [('pytorch', 'LOCAL_WORLD_SIZE'), ('slurm', 'SLURM_NTASKS_PER_NODE')]
)
def test_more_processes_than_gpus(launcher, size, monkeypatch):
    """Every process refuses, in one sentence, before it touches a device."""
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('SLURM_PROCID', '0')
    monkeypatch.setenv(size, '3')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UserError, match='3 GPUs were requested, but this machine has 2'):
        on_rank_zero({'launcher': launcher}, lambda: pytest.fail('called'))
