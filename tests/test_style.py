"""One formatter, one linter, one dialect of docstrings."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / 'dn_mmdet').rglob('*.py'))
# "Defaults to 1.", in a sentence of its own, is how defaults are told.
OTHER_DIALECTS = re.compile(r'\bDefault(?: is|:| None\b)|\bBy default:|\bdefault[s]? =')


@pytest.mark.parametrize('command', [['check'], ['format', '--check']], ids=' '.join)
def test_ruff_finds_nothing(command):
    pytest.importorskip('ruff', reason='ruff is not installed')
    done = subprocess.run(
        [sys.executable, '-m', 'ruff', *command, '--no-cache', '.'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, 'name', 'module'), text


@pytest.mark.parametrize('file', FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_are_of_one_dialect(file):
    tree = ast.parse(file.read_text(encoding='utf-8'))
    found = [name for name, text in docstrings(tree) if OTHER_DIALECTS.search(text)]
    # An argument is described by a sentence: "eps (float): Added to the variance."
    found += [
        f'{name}: {line.strip()}'
        for name, text in docstrings(tree)
        for line in text.splitlines()
        if re.match(r' *[\w*]+ \(.*\): (?!alpha|lambda|mmcv|mmdet|mmengine)[a-z]{3,} ', line)
    ]
    assert not found


NEWER = {'zip': {'strict'}, 'dataclass': {'kw_only', 'slots'}}


def newer_than_3_9(tree):
    """What ruff lets pass: arguments, names and unions of classes that Python 3.10 brought."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            yield from {word.arg for word in node.keywords} & NEWER.get(name, set())
            if name in ('isinstance', 'issubclass') and isinstance(node.args[1], ast.BinOp):
                yield f'{name} of a union'
        elif isinstance(node, ast.ImportFrom):
            yield from {alias.name for alias in node.names} & {'KW_ONLY', 'TypeAlias', 'pairwise'}


@pytest.mark.parametrize('folder', ['dn_mmdet', 'tests', 'tools', 'configs'])
def test_python_3_9_can_run_it(folder):
    found = {}
    for file in sorted((ROOT / folder).rglob('*.py')):
        tree = ast.parse(file.read_text(encoding='utf-8'), feature_version=(3, 9))
        if words := list(newer_than_3_9(tree)):
            found[str(file.relative_to(ROOT))] = words
    assert not found, f'Python 3.9 lacks these; see {ROOT / "dn_mmdet/utils/python39.py"}'


def test_newer_python_is_noticed():
    text = 'zip(a, b, strict=True), isinstance(a, int | str), dataclass(kw_only=True)'
    assert list(newer_than_3_9(ast.parse(text))) == ['strict', 'isinstance of a union', 'kw_only']
