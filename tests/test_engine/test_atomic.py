"""What mmengine writes to local files is whole or not there."""

import os

import pytest

from dn_mmdet.engine import AtomicLocalBackend


def test_the_backend_writes_bytes_and_text_through_a_link(tmp_path):
    (tmp_path / 'target').write_text('old')
    (tmp_path / 'link').symlink_to('target')
    AtomicLocalBackend().put(b'new', tmp_path / 'link')
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'target').read_text() == 'new'
    AtomicLocalBackend().put_text('é', tmp_path / 'target')
    assert (tmp_path / 'target').read_bytes() == 'é'.encode()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('old')
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        AtomicLocalBackend().put_text('new', tmp_path / 'file')
    assert (tmp_path / 'file').read_text() == 'old'
    assert os.listdir(tmp_path) == ['file']
