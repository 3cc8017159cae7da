"""The launcher of processes: what it asks for, and the status that it ends with."""

import pytest

from dn_mmdet.engine.launch import launch
from dn_mmdet.utils.errors import UserError


@pytest.mark.parametrize('processes', ['0', '-1', 'two', ''])
def test_number_of_processes(processes):
    with pytest.raises(UserError, match='must be a positive integer'):
        launch(processes, ['script.py'])


def test_status_of_a_failed_process(tmp_path, capfd):
    """The exit status of the process is that of the launcher, which adds no traceback."""
    script = tmp_path / 'script.py'
    script.write_text('import sys; sys.exit(7)')
    assert launch('1', [str(script)]) == 7
    assert 'Traceback' not in capfd.readouterr().err
    script.write_text('import os; os.kill(os.getpid(), 9)')
    assert launch('1', [str(script)]) == 137
    assert 'error: the process of rank 0 was killed by signal 9' in capfd.readouterr().err
