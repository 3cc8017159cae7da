"""The check of image files: what it finds, and when it shows how far it is."""

from itertools import count

import pytest
from PIL import Image

from dn_mmdet.datasets.files.images import check_images, image_problem
from dn_mmdet.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for name in ('a.jpg', 'b.png', 'c.bmp'):
        Image.new('RGB', (4, 4)).save(tmp_path / name)
    return tmp_path


def test_what_is_wrong_with_a_file(folder):
    for name in ('a.jpg', 'b.png', 'c.bmp'):
        assert image_problem(str(folder / name)) is None
        (folder / name).write_bytes((folder / name).read_bytes()[:20])
        assert image_problem(str(folder / name)) == 'broken'
    assert image_problem(str(folder / 'd.jpg')) == 'missing'
    assert image_problem(str(folder / 'a.jpg' / 'd.jpg')) == 'missing'


def test_bad_images_are_counted_and_named(folder):
    with pytest.raises(
        UserError, match=r'^1 of the 2 images of list are not in .*: d.jpg \(line 7'
    ):
        check_images(str(folder), ['a.jpg', 'd.jpg'], 'list', ['line 3', 'line 7'])


def test_a_quick_check_shows_nothing(folder, capsys):
    check_images(str(folder), ['a.jpg', 'b.png', 'c.bmp'], 'list')
    told = capsys.readouterr()
    assert told.out == told.err == ''


def test_a_slow_check_shows_how_far_it_is_on_stderr(folder, capsys, monkeypatch):
    seconds = count(0, 40)
    monkeypatch.setattr('tqdm.std.time', lambda: float(next(seconds)))
    check_images(str(folder), ['a.jpg', 'b.png', 'c.bmp'], 'list')
    told = capsys.readouterr()
    assert told.out == ''
    assert f'checking images in {folder}' in told.err and '3/3' in told.err
