"""What is written is whole or not there."""

import json
import os
import re
from pathlib import Path

import pytest

import dn_mmdet
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.files import (
    atomic_write,
    check_output_file,
    check_output_folder,
    remove_leftovers,
    write_json,
    write_text,
)


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'file'
    path.write_text('old')
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b'new')
        raise RuntimeError
    assert path.read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('write, content', [(write_text, 'new'), (write_json, {'a': 2})])
def test_an_interrupted_rename_leaves_the_old_file(write, content, tmp_path, monkeypatch):
    path = tmp_path / 'folder' / 'file'
    write(path, content)
    before = path.read_bytes()
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(path, 2 * content if write is write_text else {})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ['file']


def test_write_through_a_link(tmp_path):
    (tmp_path / 'target').write_text('old')
    (tmp_path / 'link').symlink_to('target')
    write_text(tmp_path / 'link', 'é')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_bytes() == 'é'.encode()


def test_json_is_indented_and_ends_with_a_line_break(tmp_path):
    write_json(tmp_path / 'a.json', {'a': [1]})
    assert (tmp_path / 'a.json').read_text() == json.dumps({'a': [1]}, indent=1) + '\n'
    write_json(tmp_path / 'b.json', {'a': [1]}, indent=None)
    assert (tmp_path / 'b.json').read_text() == '{"a": [1]}\n'


def test_leftovers_of_killed_processes_alone_are_removed(tmp_path):
    for name in ('a.pth.0123abcd.tmp', 'a.pth', 'a.pth.tmp', 'a.json.0123abcd.tmp'):
        (tmp_path / name).write_text('')
    remove_leftovers(tmp_path, '.pth')
    remove_leftovers(tmp_path / 'gone', '.pth')
    assert sorted(os.listdir(tmp_path)) == ['a.json.0123abcd.tmp', 'a.pth', 'a.pth.tmp']


def test_nothing_else_in_the_package_replaces_a_file_in_its_own_way():
    package = Path(dn_mmdet.__file__).parent
    others = [
        str(file.relative_to(package))
        for file in package.rglob('*.py')
        if re.search(r'os\.(replace|rename)\(|\.tmp\b|NamedTemporaryFile', file.read_text())
    ]
    assert others == ['utils/files.py']


@pytest.mark.parametrize(
    'path, words',
    [
        ('file', 'is not a folder; choose another'),
        ('file/inner/folder', 'file is not a folder'),
        ('/dev/null', '/dev/null is not a folder'),
        ('locked/new', 'correct the permissions of .*locked'),
    ],
)
def test_output_folders_are_checked_before_the_work(path, words, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    (tmp_path / 'locked').mkdir()
    # The one who runs this may be allowed everything.
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path).name != 'locked')
    with pytest.raises(UserError, match=f'--out .*{words}'):
        check_output_folder(tmp_path / path, '--out')
    assert sorted(os.listdir(tmp_path)) == ['file', 'locked']


def test_output_files_are_checked_before_the_work(tmp_path):
    (tmp_path / 'file').write_text('')
    for path in ('file', 'new', 'folder/new'):
        check_output_file(tmp_path / path, '--out')
        check_output_folder(tmp_path / path / '..', '--out')
    with pytest.raises(UserError, match='is a folder: give the name of a file'):
        check_output_file(tmp_path, '--out')
    with pytest.raises(UserError, match='not a plain file'):
        check_output_file('/dev/null', '--out')
    with pytest.raises(UserError, match='the folder of --out .* is not a folder'):
        check_output_file(tmp_path / 'file/new', '--out')
    assert os.listdir(tmp_path) == ['file']
