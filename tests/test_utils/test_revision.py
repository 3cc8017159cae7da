import subprocess

import pytest

from dn_mmdet.utils.versions import git_revision


def git(folder, *arguments):
    return subprocess.run(
        ['git', '-C', str(folder), '-c', 'user.name=a', '-c', 'user.email=a@b.c', *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def tree(tmp_path):
    git(tmp_path, 'init')
    (tmp_path / 'package').mkdir()
    (tmp_path / 'package/file').write_text('a')
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-m', 'first')
    git(tmp_path, 'tag', '-a', 'v1', '-m', 'a tag')
    return tmp_path


def test_the_commit_and_whether_tracked_files_have_changes(tree):
    commit = git(tree, 'rev-parse', 'HEAD')
    assert git_revision(tree) == commit and len(commit) == 40
    (tree / 'data').write_text('of a run')
    assert git_revision(tree) == commit
    (tree / 'package/file').write_text('b')
    assert git_revision(tree) == f'{commit}-dirty'


def test_what_cannot_be_known_is_unknown(tree, tmp_path_factory, monkeypatch):
    # As site-packages of an environment that lies in a user's own repository.
    assert git_revision(tree / 'package') == 'unknown'
    assert git_revision(tmp_path_factory.mktemp('no_repository')) == 'unknown'
    monkeypatch.setenv('PATH', '')
    assert git_revision(tree) == 'unknown'
