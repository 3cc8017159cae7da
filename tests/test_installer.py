"""The stacks of requirements/: what each pins, and what the installer refuses and keeps apart."""

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers.commands import make_n

ROOT = Path(__file__).parents[1]
INSTALLER = ROOT / 'requirements' / 'install.sh'
STACKS = {'default': 'mmdet', 'classic': 'mmdet', 'onedl': 'fork'}
# Stands for an interpreter, and for the one of the environment that it makes.
PYTHON = """#!/bin/bash
case "$*" in
  --version) echo "Python $FAKE_PYTHON.4" ;;
  *version_info*) echo "$FAKE_PYTHON" ;;
  *get_path*) echo "$FAKE_HEADERS" ;;
  *torch.__version__*mmcv*) echo "all versions" ;;
  *torch.__version__*) echo "$FAKE_TORCH" ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  '-m pip cache dir') echo "$FAKE_CACHE" ;;
  '-m pip install '*)
    echo "$*" >>"$FAKE_LOG"
    [[ $* != *--cache-dir* ]] || touch "$FAKE_LOG.mmcv" ;;
  '- '*) [ -e "$FAKE_LOG.mmcv" ] ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """Runs the installer with an interpreter that only writes down what it is asked to do."""
    python = tmp_path / 'bin' / 'python3.11'
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / 'Python.h').touch()

    def run(stack='default', version='3.11', torch='2.13.0', **variables):
        env = dict(
            PATH=f'{python.parent}{os.pathsep}{os.environ["PATH"]}',
            VENV=str(tmp_path / 'env'),
            STACK=stack,
            PYTHON=str(python),
            FAKE_PYTHON=version,
            FAKE_TORCH=torch,
            FAKE_HEADERS=str(tmp_path),
            FAKE_CACHE=str(tmp_path / 'cache'),
            FAKE_LOG=str(tmp_path / 'log'),
        )
        # Nothing that it leaves running may hold the pipe of its output.
        return subprocess.run(
            [INSTALLER],
            env={**env, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run


def pins(stack):
    """Name to version, as the installer merges them."""
    own = [] if stack == 'default' else [INSTALLER.with_name(f'pins-{stack}.txt')]
    found = {}
    for file in [*own, INSTALLER.with_name('pins.txt')]:
        for line in file.read_text().splitlines():
            if line and not line.startswith('#'):
                name, version = line.split('==')
                found.setdefault(name, version)
    return found


def demands(extra):
    """The requirements of setup.cfg that the installer asks pip for."""
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    extras = config['options.extras_require']
    lines = [config['options']['install_requires'], *(extras[e] for e in (extra, 'test', 'dev'))]
    for line in '\n'.join(lines).splitlines():
        if line and not line.startswith('#'):
            yield Requirement(line)


@pytest.mark.parametrize('stack', STACKS)
def test_every_requirement_is_pinned_within_its_range(stack):
    pinned = pins(stack)
    # It has no interface that could change here.
    wanted = [demand for demand in demands(STACKS[stack]) if demand.name != 'packaging']
    assert len(wanted) > 15
    for demand in wanted:
        assert demand.name in pinned and pinned[demand.name] in demand.specifier, str(demand)


@pytest.mark.parametrize(
    'wrong, told',
    [
        (dict(stack='clasic'), "error: there is no stack 'clasic': set STACK to default, classic"),
        (dict(version='3.12'), 'is not Python 3.11 (Python 3.12.4): set PYTHON to'),
        (dict(stack='classic', version='3.12'), 'is not Python 3.11 (Python 3.12.4)'),
        (dict(stack='onedl', version='3.9'), 'is not Python 3.11 (Python 3.9.4)'),
        (
            dict(PYTHON='/nowhere/python'),
            'PYTHON=/nowhere/python is not Python 3.11 (cannot be run)',
        ),
    ],
)
def test_what_cannot_be_installed_is_one_sentence_and_leaves_nothing(
    install, tmp_path, wrong, told
):
    before = sorted(tmp_path.iterdir())
    done = install(**wrong)
    assert done.returncode == 1 and not done.stdout
    assert told in done.stderr and done.stderr.count('\n') == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize('stack', STACKS)
def test_a_stack_is_installed_once_with_its_own_versions(install, tmp_path, stack):
    done = install(stack)
    assert (done.returncode, done.stderr) == (0, '')
    constraints = (tmp_path / 'env' / '.pins.txt').read_text().splitlines()
    assert dict(line.split('==') for line in constraints) == pins(stack)
    log = (tmp_path / 'log').read_text()
    assert all(f'-c {tmp_path}/env/.pins.txt' in line for line in log.splitlines())
    last = log.splitlines()[-1]
    assert f'.[{STACKS[stack]},test,dev]' in last
    assert ('mmpretrain' in last) == (stack == 'classic')
    again = install(stack)
    assert (again.returncode, again.stdout, again.stderr) == (0, '', '')
    assert (tmp_path / 'log').read_text() == log


def test_one_environment_holds_one_stack(install, tmp_path):
    install('classic')
    log = (tmp_path / 'log').read_text()
    done = install('onedl')
    assert done.returncode == 1
    assert "env holds the stack 'classic', not 'onedl': set VENV to another" in done.stderr
    assert (tmp_path / 'log').read_text() == log
    # An environment from before there were stacks.
    (tmp_path / 'env' / '.stack').unlink()
    assert "holds the stack 'default', not 'onedl'" in install('onedl').stderr


def test_what_is_built_against_one_torch_is_not_taken_for_another(install, tmp_path):
    for torch, folder in [('2.13.0', 'a'), ('2.1.2', 'b'), ('2.13.0', 'c')]:
        (tmp_path / 'log.mmcv').unlink(missing_ok=True)
        install(torch=torch, VENV=str(tmp_path / folder))
    # With CUDA it is another build.
    (tmp_path / 'log.mmcv').unlink()
    install(VENV=str(tmp_path / 'd'), FORCE_CUDA='1')
    folders = re.findall(r'--cache-dir \S+/cache/(\S+) mmcv$', (tmp_path / 'log').read_text(), re.M)
    assert folders == [f'mmcv-torch{v}' for v in ('2.13.0', '2.1.2', '2.13.0', '2.13.0-cuda')]


@pytest.mark.parametrize(
    'arguments, folder',
    [
        ([], '.venv'),
        (['STACK='], '.venv'),
        (['STACK=classic'], '.venv-classic'),
        (['STACK=onedl', 'VENV=other'], 'other'),
    ],
)
def test_each_stack_has_an_environment_of_its_own(arguments, folder):
    done = make_n('test', *arguments)
    assert f'\n{folder}/bin/python -m pytest -n auto' in done.stdout
