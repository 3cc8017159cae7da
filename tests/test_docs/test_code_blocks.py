"""Every code block of the documentation: Python is run, commands are read as their programs do.

A block of commands is run too, on little data, unless a comment in front of it says why not:
``<!-- not run: needs COCO -->``.
"""

import ast
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from dn_mmdet.engine import load_config
from dn_mmdet.engine.option_keys import READ
from tests.helpers.commands import check, check_variables, commands
from tests.helpers.pages import PAGES, ROOT, blocks, inline_commands, name_of

# The front page has no comments, and this report is made by a program.
UNMARKED = {'README.md', 'docs/results/compare/compare.md'}
# A changelog tells of commands that were.
PAGES = [page for page in PAGES if page.name != 'CHANGELOG.md']
LANGUAGES = {'bash', 'python'}
SHELL = [block for page in PAGES for block in blocks(page, 'bash')]
RUN = [block for block in SHELL if not block.reason and block.page not in UNMARKED]
# What a page takes from its reader.
READERS = {
    'README.md': 'import torch\nmodel = torch.nn.Sequential(torch.nn.BatchNorm2d(64))',
    'docs/weights.md': """
import torch
norms = {name: torch.nn.BatchNorm2d(8) for name in ('bn', 'norm')}
neck = torch.nn.ModuleDict({'level': torch.nn.ModuleDict(norms)})
model = torch.nn.ModuleDict({'backbone': torch.nn.BatchNorm2d(8), 'neck': neck})
images = []
""",
}
# More arguments, which make a tool's work small.
SMALLER = {
    'digits_coco.py': ['--train', '8', '--val', '2', '--crops-train', '10', '--crops-val', '10'],
    'train.py': [
        '--cfg-options',
        'train_cfg.val_interval=4',
        'train_dataloader.batch_size=4',
        *(
            f'{part}_dataloader.{key}'
            for part in ('train', 'val')
            for key in ('num_workers=0', 'persistent_workers=False')
        ),
    ],
    'test.py': [
        '--cfg-options',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    ],
}


def is_configuration(code):
    """Whether Python is a configuration or a part of one: nothing but settings that are read."""
    assigned = [node for node in ast.parse(code).body if isinstance(node, ast.Assign)]
    names = {target.id for node in assigned for target in node.targets if hasattr(target, 'id')}
    return len(assigned) == len(ast.parse(code).body) and bool(names & {*READ, '_base_'})


def try_configuration(code, folder):
    """Load it where its reader saves it, and build its model."""
    if not re.search('^_base_', code, re.MULTILINE):
        code = f"_base_ = 'ssdlite_mbv2_dnb_coco.py'\n{code}"
    shutil.copytree(ROOT / 'configs', folder / 'configs', dirs_exist_ok=True)
    (folder / 'configs/my_data.py').write_text(code)
    config = load_config(str(folder / 'configs/my_data.py'))
    if re.search('^model = ', code, re.MULTILINE):
        init_default_scope(config.default_scope)
        model = MODELS.build(config.model)
        assert any(type(m).__name__ == 'DNB' for m in model.modules())


@pytest.mark.parametrize('page', [p for p in PAGES if blocks(p, 'python')], ids=name_of)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(READERS.get(name_of(page), ''), scope)
    with torch.random.fork_rng():
        for block in blocks(page, 'python'):
            try:
                code = compile(block.code, str(block), 'exec')
                if block.reason:
                    continue
                if is_configuration(block.code):
                    try_configuration(block.code, tmp_path)
                else:
                    exec(code, scope)
            except Exception as error:
                raise AssertionError(f'{block}: {error!r}') from error


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_commands_can_be_run(page, tmp_path):
    written = set(re.findall(r'as `(configs/\w+\.py)`', page.read_text()))
    shell = [(str(block), block.code) for block in blocks(page, 'bash')]
    inline = [(f'{page.name}: {code}', code) for code in inline_commands(page)]
    missing = set()
    for place, code in [*shell, *inline]:
        try:
            check_variables(code)
            for words in commands(code, tmp_path):
                if words[0] == 'ln':
                    written.add(words[-1])
                check(words, written)
        except ModuleNotFoundError as error:
            missing.add(error.name)
        except Exception as error:
            raise AssertionError(f'{place}: {error}') from error
    assert missing <= {'onnx', 'onnxruntime'}
    if missing:
        pytest.skip(f'the rest was checked; not installed: {", ".join(sorted(missing))}')


def test_a_block_is_run_or_says_why_not():
    assert len(RUN) > 2
    for page in PAGES:
        text = page.read_text()
        assert len(re.findall(r'^```\w', text, re.M)) == len(blocks(page)), f'{page}: {LANGUAGES}'
        assert {block.language for block in blocks(page)} <= LANGUAGES
        assert text.count('<!-- not run') == sum(block.reason is not None for block in blocks(page))


def test_commands_do_what_the_pages_say(tmp_path, monkeypatch):
    """In the order of the pages, in a folder like the repository, in this process."""
    monkeypatch.chdir(tmp_path)
    for name in ('checkpoints', 'configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    for block in RUN:
        (tmp_path / 'empty').mkdir()
        listed = commands(block.code, tmp_path / 'empty')
        shutil.rmtree(tmp_path / 'empty')
        for program, tool, *arguments in listed:
            assert program == 'python', f'{block}: only tools are run here; say why it is not'
            if tool == '-m':
                continue
            more = SMALLER.get(Path(tool).name, [])
            if more and more[0] in arguments:
                place = arguments.index(more[0]) + 1
                arguments[place:place] = more[1:]
            else:
                arguments += more
            monkeypatch.setattr(sys, 'argv', [tool, *arguments])
            try:
                runpy.run_path(str(ROOT / tool), run_name='__main__')
            except SystemExit as done:
                assert not done.code, f'{block}: {done.code}'
