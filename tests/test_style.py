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
