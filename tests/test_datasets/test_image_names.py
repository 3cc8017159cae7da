"""Images that are missing by one name and there by another."""

import os
import unicodedata

import pytest

from dn_mmdet.datasets.files.image_names import find_misnamed

# Missing names, files that are there, and what is told.
CASES = {
    'backslash': (
        ['img\\1.jpg', 'img\\2.jpg'],
        ['img/1.jpg', 'img/2.jpg'],
        "'img\\\\1.jpg' is missing, but 'img/1.jpg' is there (and so for 1 more): the names have "
        "'\\' where the folder has '/'; correct them in the file, or rename the images",
    ),
    'web encoding': (['a%20b.jpg'], ['a b.jpg'], 'encoded as in a web address'),
    'web encoding on disk': (['a b.jpg'], ['a%20b.jpg'], 'encoded as in a web address'),
    'case of the suffix': (['1.jpg'], ['1.JPG'], "'1.JPG' is there: upper and lower case differ"),
    'case': (['IMG_1.jpg'], ['img_1.jpg'], 'upper and lower case differ'),
    'Unicode': (
        [unicodedata.normalize('NFC', 'café.jpg')],
        [unicodedata.normalize('NFD', 'café.jpg')],
        'the names are in another Unicode form (NFC or NFD)',
    ),
    'blank': (['1.jpg '], ['1.jpg'], 'there are blanks around the names'),
    'suffix': (['1.jpg'], ['1.png'], "'1.png' is there: the suffix is another"),
    'no suffix': (['1'], ['1.jpg'], 'the suffix is another'),
    'the same suffix first': (['1.jpg'], ['1.png', '1.JPG'], "but '1.JPG' is there"),
    'the whole name first': (['b/1.jpg'], ['a/b/1.JPG', 'b/1.JPG'], "but 'b/1.JPG' is there"),
    'two differences': (
        ['A%20B.jpg'],
        ['a b.jpg'],
        'the names are encoded as in a web address and upper and lower case differ',
    ),
    'Windows path': (
        ['C:\\Users\\me\\images\\1.jpg'],
        ['1.jpg'],
        "'1.jpg' is there: the names are paths on another computer; make them relative",
    ),
    'path of another machine': (['/home/me/1.jpg'], ['1.jpg'], 'paths on another computer'),
    'address': (['http://host/val2017/1.jpg'], ['1.jpg'], 'the names are web addresses'),
    'folder twice': (
        ['images/1.jpg'],
        ['1.jpg'],
        "'images/' is in the names and in data_prefix; leave it out of data_prefix",
    ),
    'folder too many': (['train/1.jpg'], ['1.jpg'], "'train/' is no folder there; leave it out"),
    'a level below': (
        ['1.jpg', '2.jpg'],
        ['train/1.jpg', 'train/2.jpg'],
        "(and so for 1 more): the images are in 'train/' below that folder; add it to data_prefix",
    ),
    'two of three': (['a.jpg', 'b.jpg', 'c.jpg'], ['a.JPG', 'b.JPG'], '; the others are not there'),
    'a label file': (['1.jpg'], ['1.txt', '1.json'], None),
    'another class': (['cat/1.jpg'], ['dog/1.jpg'], None),
    'none': (['1.jpg'], ['2.jpg'], None),
    'not a name': (['a\0.jpg', '', '.', '/'], ['2.jpg'], None),
}


def write(folder, files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b'')


@pytest.mark.parametrize('case', CASES)
def test_what_is_told(case, tmp_path):
    missing, files, words = CASES[case]
    folder = tmp_path / 'images'
    folder.mkdir()
    write(folder, files)
    sentence = find_misnamed(f'{folder}/', missing, every=True)
    if words is None:
        assert sentence is None
    else:
        assert words in sentence


def test_a_link_to_nothing(tmp_path):
    os.symlink('nowhere.jpg', tmp_path / '1.jpg')
    assert 'a link to a file that does not exist' in find_misnamed(str(tmp_path), ['1.jpg'])


@pytest.mark.parametrize('place', ['', 'val/'])
def test_the_folder_beside(place, tmp_path):
    write(tmp_path, ['train/other.jpg', f'{place}1.jpg'])
    folder = str(tmp_path / 'train')
    sentence = find_misnamed(folder, ['1.jpg'], every=True)
    where = os.path.join(tmp_path, place).rstrip('/')
    assert sentence == f"'1.jpg' is in {where}: correct data_root and data_prefix"
    # Where others are found, the folder is right, and the next one may have images of that name.
    assert find_misnamed(folder, ['1.jpg']) is None


def test_the_present_folder(tmp_path, monkeypatch):
    write(tmp_path, ['a/1.jpg'])
    monkeypatch.chdir(tmp_path)
    assert "'a/1.jpg' is there" in find_misnamed('', ['1.jpg'])


def test_the_folder_is_listed_once(tmp_path, monkeypatch):
    walked, walk = [], os.walk
    monkeypatch.setattr(os, 'walk', lambda place: walked.append(place) or walk(place))
    write(tmp_path, ['1.JPG', '2.JPG'])
    find_misnamed(str(tmp_path), ['1.jpg', '2.jpg'])
    assert walked == [str(tmp_path)]
