"""A Python that is not supported is told so before anything that it cannot read or lacks."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dn_mmdet.utils.python_version import SUPPORTED_PYTHON, check_python

ROOT = Path(__file__).resolve().parents[2]
CONFIG = configparser.ConfigParser(interpolation=None)
CONFIG.read(ROOT / 'setup.cfg')


@pytest.mark.parametrize('version', ['3.8.18', '3.13.0', '3.13.0rc1', '2.7.18', '4.0'])
def test_wrong_python_is_refused_in_one_sentence(version):
    words = rf'needs Python .*, but this is {re.escape(version)}: create'
    with pytest.raises(ImportError, match=words) as error:
        check_python(version)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('version', ['3.9.0', '3.9.2', '3.10.0', '3.11.7', '3.12.1'])
def test_supported_python_passes(version):
    check_python(version)


def test_the_classifiers_are_the_supported_versions():
    minors = re.findall(r'Python :: (3\.\d+)', CONFIG['metadata']['classifiers'])
    assert CONFIG['options']['python_requires'] == SUPPORTED_PYTHON
    for number in range(30):
        version = f'3.{number}'
        if version in minors:
            check_python(version)
        else:
            with pytest.raises(ImportError):
                check_python(version)


# A tool that is told another version, in an interpreter that has no package at all.
PROGRAM = """
import runpy, sys
sys.version_info = (3, 13, 0)
sys.path.insert(0, sys.argv[1])
for tool in sys.argv[2:]:
    for name in [name for name in sys.modules if name.startswith('dn_mmdet')]:
        del sys.modules[name]
    try:
        runpy.run_path(tool, run_name='__main__')
    except SystemExit as left:
        print(left.code)
"""


def test_every_tool_on_a_wrong_python_ends_in_that_sentence_without_any_package():
    # A file of its own, which needs neither this package nor torch.
    alone = ROOT / 'tools/deployment/demo.py'
    tools = sorted(str(tool) for tool in (ROOT / 'tools').rglob('*.py') if tool != alone)
    done = subprocess.run(
        [sys.executable, '-I', '-S', '-c', PROGRAM, str(ROOT), *tools],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ''
    lines = done.stdout.splitlines()
    assert len(tools) > 15 and len(lines) == len(tools)
    for line in lines:
        assert line.startswith(f'error: dn_mmdet needs Python {SUPPORTED_PYTHON}, but this is 3.13')


@pytest.mark.parametrize('name', ['__init__.py', 'utils/__init__.py', 'utils/python_version.py'])
def test_an_old_python_can_read_what_comes_before_the_check(name):
    ast.parse((ROOT / 'dn_mmdet' / name).read_text(), feature_version=(3, 6))
