"""Processes that Slurm or MPI started: a stand-in for srun starts two of them on CPU."""

import os
import socket
import subprocess

import pytest
import torch
from mmengine.config import ConfigDict

from dn_mmdet.engine import distributed
from dn_mmdet.engine.distributed import on_rank_zero, start_process_group
from dn_mmdet.utils.errors import UserError
from tests.helpers.rank_weights import CONFIG, assert_same_weights
from tests.helpers.tiny import REPOSITORY, environment, run_tool, write_coco, write_config

OPTIONS = (
    '--cfg-options',
    'train_cfg.max_epochs=1',
    'train_dataloader.batch_size=2',
    'param_scheduler=None',
)
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do
    echo "$1" >>srun.txt
    [[ $1 != --ntasks=* ]] || export SLURM_NTASKS=${1#*=}
    shift
done
printf '%s\\n' "$@" >command.txt
[[ $3 == */train.py ]] || exit 0
export SLURM_JOB_ID=$$ SLURM_STEP_ID=0 SLURM_STEP_NODELIST='node[1-2]' SLURM_LOCALID=0
for ((rank = 1; rank < SLURM_NTASKS; rank++)); do SLURM_PROCID=$rank "$@" & done
SLURM_PROCID=0 "$@" && wait -n
"""
SCONTROL = '#!/usr/bin/env bash\n[[ "$*" == "show hostnames node[1-2]" ]] && echo 127.0.0.1 node2\n'


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder, and on the path a Slurm that starts the processes of all machines on this one."""
    for name, text in {'srun': SRUN, 'scontrol': SCONTROL}.items():
        (tmp_path / 'bin').mkdir(exist_ok=True)
        (tmp_path / 'bin' / name).write_text(text)
        (tmp_path / 'bin' / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=':')
    return tmp_path


def test_slurm_trains(slurm):
    write_coco(slurm / 'data')
    write_config(slurm, more=CONFIG)
    arguments = ['part', 'some name', 'tiny.py', 'work', *OPTIONS]
    sizes = dict(GPUS='2', GPUS_PER_NODE='1', CPUS_PER_TASK='3', SRUN_ARGS='--mem=1G --quiet')
    done = run_tool('slurm_train.sh', *arguments, cwd=slurm, **sizes)
    assert done.returncode == 0, done.stderr
    assert_same_weights(slurm)
    saved = torch.load(slurm / 'work/epoch_1.pth', weights_only=True)
    assert saved['meta']['iter'] == 2
    assert (slurm / 'srun.txt').read_text().splitlines() == [
        '--partition=part',
        '--job-name=some name',
        '--ntasks=2',
        '--ntasks-per-node=1',
        '--cpus-per-task=3',
        '--kill-on-bad-exit=1',
        '--mem=1G',
        '--quiet',
    ]


@pytest.mark.parametrize('per_node', [{}, {'GPUS_PER_NODE': '8'}], ids=str)
def test_slurm_tests_on_gpus(per_node, slurm):
    """No more of a machine is asked for than the processes use."""
    arguments = ['part', 'name', 'a b.py', 'c.pth', '--out', 'd e.pkl']
    sizes = dict(CUDA_VISIBLE_DEVICES='', GPUS='4', **per_node)
    done = run_tool('slurm_test.sh', *arguments, cwd=slurm, **sizes)
    assert done.returncode == 0, done.stderr
    given = (slurm / 'srun.txt').read_text().splitlines()
    assert {'--gres=gpu:4', '--ntasks=4', '--ntasks-per-node=4'} < set(given)
    python, unbuffered, *command = (slurm / 'command.txt').read_text().splitlines()
    assert command == [
        str(REPOSITORY / 'tools/test.py'),
        *arguments[2:],
        *('--launcher', 'slurm'),
    ]


@pytest.mark.parametrize(
    'sizes, words',
    [
        (dict(GPUS='two'), "GPUS must be a positive integer, but it is 'two'"),
        (dict(GPUS_PER_NODE='0'), "GPUS_PER_NODE must be a positive integer, but it is '0'"),
        (dict(PATH='/nowhere'), 'srun was not found, so this is no machine of a Slurm cluster'),
    ],
)
def test_slurm_refuses(sizes, words, slurm):
    bash, script = '/bin/bash', str(REPOSITORY / 'tools/slurm_train.sh')
    if 'PATH' in sizes:
        for tool in ('bash', 'dirname'):
            (slurm / 'bin' / tool).symlink_to(f'/usr/bin/{tool}')
        (slurm / 'bin/srun').unlink()
        sizes = dict(PATH=str(slurm / 'bin'))
    done = subprocess.run(
        [bash, script, 'part', 'name', 'tiny.py', 'work'],
        env=environment(**sizes),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f'error: {words}') and done.stderr.count('\n') == 1


@pytest.fixture
def started(monkeypatch):
    """What the process group is told, without a process to wait for, with or without a GPU."""

    def start(launcher, gpus=0, dist_cfg=None, **variables):
        for name in ('MASTER_ADDR', 'MASTER_PORT', 'RANK', 'WORLD_SIZE'):
            monkeypatch.setenv(name, '')
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        told = []

        def tell(*_, **__):
            told.append({name: os.environ.get(name) for name in NAMES})

        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
        monkeypatch.setattr(torch.distributed, 'init_process_group', tell)
        monkeypatch.setattr(distributed, 'init_dist', tell)
        start_process_group(ConfigDict(launcher=launcher, env_cfg=dict(dist_cfg=dist_cfg or {})))
        return told[0]

    return start


NAMES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
SLURM = dict(SLURM_PROCID='3', SLURM_NTASKS='4', SLURM_NODELIST='node7', SLURM_JOB_ID='1234567')


@pytest.mark.parametrize('gpus', [0, 1])
def test_slurm_says_where_processes_meet(gpus, started, monkeypatch):
    """Each job has a port of its own, one machine needs no scontrol, and what is set stays."""
    monkeypatch.setenv('PATH', '')
    first = started('slurm', gpus, **SLURM)
    assert list(first.values())[:3] == ['3', '4', 'node7']
    second = started('slurm', gpus, **SLURM | {'SLURM_STEP_ID': '1'})
    assert 10000 <= int(first['MASTER_PORT']) < int(second['MASTER_PORT']) < 30000
    assert started('slurm', gpus, dict(port=7), **SLURM)['MASTER_PORT'] == '7'
    given = dict(MASTER_ADDR='here', MASTER_PORT='8', SLURM_NODELIST='node[1-2]')
    assert list(started('slurm', gpus, **SLURM | given).values())[2:] == ['here', '8']
    with pytest.raises(UserError, match=r"first of 'node\[1-2\]': set MASTER_ADDR"):
        started('slurm', gpus, **SLURM | {'SLURM_NODELIST': 'node[1-2]'})


def test_mpi_needs_an_address(started):
    mpi = dict(OMPI_COMM_WORLD_RANK='1', OMPI_COMM_WORLD_SIZE='2')
    with pytest.raises(UserError, match='--launcher mpi needs the environment variable MASTER_A'):
        started('mpi', **mpi)
    told = started('mpi', **mpi, MASTER_ADDR='here')
    assert list(told.values()) == ['1', '2', 'here', '29500']


def test_a_port_that_is_taken(monkeypatch):
    with socket.socket() as taken:
        taken.bind(('', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = SLURM | dict(SLURM_PROCID='0', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        for name, value in (told | dict(RANK='', WORLD_SIZE='')).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f'the port {port} of this machine is taken'):
            start_process_group(ConfigDict(launcher='slurm'))


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_launchers_that_started_nothing(launcher, monkeypatch):
    for name in ('SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=f'--launcher {launcher} is for processes that'):
        on_rank_zero({'launcher': launcher}, lambda: pytest.fail('called'))
