"""The launcher of processes: what it asks for, and the status that it ends with."""

import pytest

from dn_mmdet.engine.launch import launch
from dn_mmdet.utils.errors import UserError


@pytest.mark.parametrize('processes', ['0', '-1', 'two', ''])
def test_number_of_processes(processes):
    with pytest.raises(UserError, match='the number of GPUs must be an integer of at least 1, but'):
        launch(processes, ['script.py'])


@pytest.mark.parametrize(
    'variables, words',
    [
        (dict(NNODES='two'), "NNODES, the number of machines, must be .* 1, but it is 'two'"),
        (dict(NNODES='2', NODE_RANK='0'), 'NNODES is 2, but MASTER_ADDR is not set'),
        (dict(NNODES='2', MASTER_ADDR='a'), 'NODE_RANK, .* from 0 to 1, but it is not set'),
        (dict(NNODES='2', MASTER_ADDR='a', NODE_RANK='2'), "from 0 to 1, but it is '2'"),
        (dict(NODE_RANK='1'), r"machines \(NNODES is 1\), must be from 0 to 0, but it is '1'"),
        (dict(PORT='29500', NODE_RANK='x'), "from 0 to 0, but it is 'x'"),
        (
            dict(NNODES='2', MASTER_ADDR='127.0.0.1:29500', NODE_RANK='0'),
            "MASTER_ADDR is '127.0.0.1:29500', which this machine does not find .* without a port",
        ),
        (dict(PORT='70000'), "PORT must be from 1 to 65535, but it is '70000'"),
    ],
)
def test_machines(variables, words, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words):
        launch('1', ['script.py'])


def test_status_of_a_failed_process(tmp_path, capfd):
    """The exit status of the process is that of the launcher, which adds no traceback."""
    script = tmp_path / 'script.py'
    script.write_text('import sys; sys.exit(7)')
    assert launch('1', [str(script)]) == 7
    assert 'Traceback' not in capfd.readouterr().err
    script.write_text('import os; os.kill(os.getpid(), 9)')
    assert launch('1', [str(script)]) == 137
    assert 'error: the process of rank 0 was killed by signal 9' in capfd.readouterr().err
