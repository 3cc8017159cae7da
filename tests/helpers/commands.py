"""What a piece of shell would run, as bash itself reads it, and whether that can be run."""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from dn_mmdet import paths
from dn_mmdet.engine import load_config
from dn_mmdet.version import __version__

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('tools/*.sh'))
# Every program is a function that writes its words down; a name with a slash can be a function too.
STAND_IN = """
record() { { printf '%q ' "$@"; echo; } >&3; }
command_not_found_handle() {
  record "$@"
  case "$*" in 'python -m dn_mmdet.paths '*) echo "$4" ;; esac
}
"""
FOREIGN = {'git', 'ln', 'mim', 'mkdir', 'tensorboard'}
FOREIGN_MODULES = {'build', 'pip', 'pytest', 'venv'}
FOREIGN_PACKAGES = {'build', 'openmim'}
# What stands for something of the reader's: CONFIG, work_dirs/WORK_DIR, epoch_N.pth.
PLACEHOLDER = re.compile(r'(?<![A-Za-z])[A-Z][A-Z_]*(?![a-z])')
OURS = re.compile(r'(?:^|=)((?:checkpoints|configs|docs|requirements|tests|tools)/[\w./-]+)')


def commands(code, folder):
    """The commands of a piece of shell, each as its words.

    Args:
        code (str): It runs in bash where no program can be found, so nothing happens.
        folder (Path): An empty one, where patterns of files match nothing.

    Returns:
        list[list[str]]: As a program would see them.
    """
    functions = 'source() { [ $# = 1 ]; }\n' + ''.join(
        f'{name}() {{ record {name} "$@"; }}\n' for name in SCRIPTS
    )
    log = folder / 'commands'
    done = subprocess.run(
        ['/bin/bash', '-c', f'{STAND_IN}{functions}exec 3>"{log}"; set -eu\n{code}'],
        cwd=folder,
        env={'PATH': '/nowhere'},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0 and not done.stderr, f'{done.stderr}{code}'
    return [shlex.split(line) for line in log.read_text().splitlines()]


def check_variables(code):
    """Each variable in front of a command is one that something here reads."""
    for name in re.findall(r'(?:^|\s)([A-Z][A-Z_]+)=', code):
        if name != 'ARGS' and not _mentioned(name, code):
            raise AssertionError(f'nothing reads {name}')


def check(words, written=()):
    """Check that a command can be run as it stands, as far as that shows without running it.

    Args:
        words (list[str]): A command.
        written (Collection[str]): Files that the page has its reader write.
    """
    program, *rest = words
    for word in () if program in FOREIGN else rest:
        for path in OURS.findall(word):
            known = path in written or PLACEHOLDER.search(path)
            assert known or (ROOT / path.rstrip('.')).exists(), f'{path} is not there'
    if re.fullmatch(r'python(3[.\d]*)?', program):
        _check_python(rest)
    elif program == 'make':
        _check_make(rest)
    elif program == 'pip':
        _check_pip(rest)
    elif program in SCRIPTS:
        _check_script(program, rest)
    else:
        assert program in FOREIGN, f'unknown program {program}'


def parsed(tool, arguments):
    """What a tool's own parser makes of its arguments.

    Args:
        tool (str | Path): A file with a function ``parse_args``.
        arguments (list[str]): Of its command line.

    Returns:
        argparse.Namespace: Of the parser itself.
    """
    found, plain = [], argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        found.append(plain(self, args, namespace))
        return found[-1]

    argv, sys.argv = sys.argv, [str(tool), *arguments]
    argparse.ArgumentParser.parse_args = parse_args
    try:
        runpy.run_path(str(ROOT / tool), run_name='tool')['parse_args']()
    except SystemExit as stop:
        if isinstance(stop.__context__, ModuleNotFoundError):  # told in a sentence
            raise stop.__context__ from None
        reason = '' if stop.code == 2 else f': {stop.code}'
        raise AssertionError(f'{tool} does not take {shlex.join(arguments)}{reason}') from stop
    finally:
        sys.argv, argparse.ArgumentParser.parse_args = argv, plain
    return found[0]


def _check_python(words):
    if words[0] == '-m':
        module = words[1]
        known = module in FOREIGN_MODULES or importlib.util.find_spec(module)
        assert known, f'there is no module {module}'
        assert module != 'dn_mmdet.paths' or hasattr(paths, f'{words[2]}_root')
        return
    args = parsed(words[0], words[1:])
    config, options = getattr(args, 'config', None), getattr(args, 'cfg_options', None)
    if isinstance(config, str) and (ROOT / config).is_file():
        # '...' stands for a value.
        load_config(str(ROOT / config), options if '...' not in str(options) else None)


def make_n(*words):
    """What make would run, whatever a make around the tests was told."""
    told = ('STACK', 'VENV', 'ARGS', 'MAKEFLAGS', 'MAKEOVERRIDES', 'MAKELEVEL')
    env = {name: value for name, value in os.environ.items() if name not in told}
    return subprocess.run(
        ['make', '-n', *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=30
    )


def _check_make(words):
    done = make_n(*words)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        started = re.match(r'\S+/bin/python (tools/.*)', line)
        if started:
            check(['python', *shlex.split(started[1])])
    stack = [word.partition('=')[2] for word in words if word.startswith('STACK=')]
    assert set(stack) <= {'classic', 'default', 'onedl', '...'}, f'there is no stack {stack}'


def _check_pip(words):
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg')
    needed, extras = config['options']['install_requires'], config['options.extras_require']
    pins = (ROOT / 'requirements/pins.txt').read_text()
    known = set(
        re.findall(r'^([\w-]+)', pins + '\n' + '\n'.join([needed, *extras.values()]), re.MULTILINE)
    )
    assert words[0] in ('install', 'wheel')
    for word in words[1:]:
        ours = re.fullmatch(
            r'(?:\.|dn_mmdet-(?P<version>[\d.]+)-.*\.whl)(?:\[(?P<extras>.*)])?', word
        )
        if ours:
            wanted = ours['extras'].split(',') if ours['extras'] else []
            assert all(extra in extras for extra in wanted), f'{word}: no such extra'
            assert ours['version'] in (None, __version__), f'{word}: not this version'
        elif words[words.index(word) - 1] not in ('-w', '-c', '-r') and not word.startswith('-'):
            name = Requirement(word).name
            assert name in known | FOREIGN_PACKAGES, f'{word} is not declared'


def _check_script(script, words):
    """Let the script itself start what it starts, which only prints its words."""
    with tempfile.TemporaryDirectory() as folder:
        stand_in = Path(folder, 'srun')
        stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        stand_in.chmod(0o755)
        done = subprocess.run(
            [ROOT / script, *words],
            cwd=folder,
            env={'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}', 'PYTHON': str(stand_in)},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 0, done.stderr
    started = done.stdout.splitlines()
    tool = next(word for word in started if re.search(r'tools/\w+\.py$', word))
    after = started[started.index(tool) + 1 :]
    check(['python', f'tools/{Path(tool).name}', *after])


def _mentioned(name, code):
    if re.search(rf'\$\{{?{name}\b', code):
        return True
    places = ['Makefile', 'setup.py', 'requirements/install.sh', 'dn_mmdet/engine/launch.py']
    return any(name in (ROOT / place).read_text() for place in [*places, *SCRIPTS])
