"""A folder with a tiny data set to run the tools in."""

import runpy
import sys

import pytest

from tests.helpers.tiny import REPOSITORY, snapshot, write_coco, write_config


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the data set in data/, a configuration tiny.py, and the process in it."""
    write_coco(tmp_path / 'data')
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(monkeypatch, capsys, request):
    """Run a tool in this process, expect it to refuse, and return its sentence.

    It is the tool's own file, from its arguments to its exit status, without the seconds that a
    new process needs to import everything.
    """

    def run(name, *arguments, folder):
        before = snapshot(folder)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(REPOSITORY / 'tools' / name), run_name='__main__')
        error = capsys.readouterr().err
        assert stop.value.code == 1
        assert 'Traceback' not in error
        lines = [line for line in error.splitlines() if line.startswith('error: ')]
        assert len(lines) == 1, error
        assert snapshot(folder) == before
        return lines[0]

    return run
