"""Running a tool in this process, which spares the imports of another."""

import runpy
import sys

import pytest

from dn_mmdet.paths import tools_root


@pytest.fixture
def run_tool(monkeypatch):
    """Run complexity.py with a command line and return the status that it leaves with."""

    def run(*arguments):
        tool = str(tools_root() / 'analysis_tools/complexity.py')
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(tool, run_name='__main__')
        return left.value.code

    return run
