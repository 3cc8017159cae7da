"""Annotation files: what is read, what is named as something else, and what values must be."""

import bz2
import gzip
import io
import json
import math
import pickle
import sys
import tarfile
import uuid
import zipfile

import pytest

from dn_mmdet.datasets.files.coco import annotation_problems, load_annotations, root_category
from dn_mmdet.utils.errors import UserError


def good():
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=64, height=48) for i in (1, 2)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='Straße')],
        annotations=[
            dict(id=i, image_id=1, category_id=1, bbox=[1, 2, 30.5, 4], area=122.0, iscrowd=0)
            for i in (1, 2)
        ],
    )


def problems(content, **options):
    return [sentence for _, sentence in annotation_problems(content, 'a.json', **options)]


@pytest.mark.parametrize(
    'encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32']
)
def test_encodings_of_text_are_read(encoding, tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(json.dumps(good(), ensure_ascii=False).encode(encoding))
    content = load_annotations(str(path), 'ann_file')
    assert content == good() and not problems(content, evaluated=True)


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('a.json', data)
    return file.getvalue()


def tarred(data):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        member = tarfile.TarInfo('a.json')
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n'
DATA = json.dumps(good()).encode()


@pytest.mark.parametrize(
    'data, words',
    [
        (b'', 'is empty'),
        (b' \n', 'is empty'),
        (b'\xef\xbb\xbf', 'is empty'),
        (b'\0' * 100, 'not JSON but nothing but zero bytes'),
        (gzip.compress(DATA), 'not JSON but a gzip archive: unpack it'),
        (bz2.compress(DATA), 'a bzip2 archive'),
        (zipped(DATA), 'a ZIP archive: unpack it'),
        (tarred(DATA), 'a tar archive'),
        (pickle.dumps(good()), 'a pickle file'),
        (b'\n <!DOCTYPE html><html>', 'an HTML page: download the file itself'),
        (b'\xef\xbb\xbf<HTML lang="en">', 'an HTML page'),
        (b'<annotation><folder/>', 'an XML file: for Pascal VOC annotations, set type=XMLDataset'),
        (POINTER, 'a Git LFS pointer: run "git lfs pull"'),
        (b'\xff\xd8\xff\xe0', 'a JPEG image'),
        (str(good()).encode(), 'Python text with single quotes: write it with json.dump'),
        (b'0 0.5 0.5 0.1 0.2\n', 'a YOLO label file'),
        (b'train: images/train\nnc: 2\n', 'a YAML file'),
        (b'{"id": 1}\n{"id": 2}\n{"id": 3}\n', 'not JSON but JSON Lines'),
        (DATA[:-40], 'is not valid JSON at line 1, column'),
        (DATA + b'x', 'is not valid JSON at line 1, column'),
        (b'{"a": "\xe9"}', 'is not JSON: byte 7 is not UTF-8 text'),
        (b'[' * 100000, 'is not JSON that can be read'),
        pytest.param(
            b'[' + b'1' * 5000 + b']',
            'is not JSON that can be read',
            marks=pytest.mark.skipif(
                not hasattr(sys, 'get_int_max_str_digits'),
                reason='the first versions of Python 3.9 and 3.10 read any number of digits',
            ),
        ),
    ],
)
def test_other_files_are_named(data, words, tmp_path):
    path = tmp_path / 'a.json'
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        load_annotations(str(path), 'ann_file')
    assert words in str(error.value) and str(path) in str(error.value)


PANOPTIC = good() | dict(annotations=[dict(image_id=1, file_name='1.png', segments_info=[])])


@pytest.mark.parametrize(
    'content, words',
    [
        ([], 'a.json holds a list, not an object'),
        ('text', 'holds a str'),
        (None, 'holds a NoneType'),
        ({}, "lacks the lists 'images' and 'annotations' and 'categories'"),
        (good() | dict(annotations={}), "lacks the list 'annotations'"),
        (good() | dict(images=[]), 'lists no images'),
        (good() | dict(categories=[]), 'lists no categories'),
        ([dict(image_id=1, category_id=1, bbox=[], score=0.5)], 'a file of results'),
        (good()['annotations'], 'a list of annotations alone'),
        (PANOPTIC, 'a panoptic file, whose annotations have segments_info instead of a bbox'),
        (good() | dict(annotations=[dict(id=1, image_id=1, caption='')]), 'a file of captions'),
        (dict(version='5', shapes=[], imagePath='1.jpg'), 'a LabelMe file'),
        ([dict(id=1, data={}, annotations=[])], "Label Studio's own JSON"),
        ([dict(image='1.jpg', annotations=[])], 'a CreateML file'),
        ({'1.jpg123': dict(filename='1.jpg', regions={})}, "VIA's own JSON"),
        (dict(_via_settings={}, _via_img_metadata={}), 'a VIA project'),
        (dict(type='FeatureCollection', features=[]), 'a GeoJSON file'),
        (dict(metainfo={}, data_list=[]), "mmengine's own format"),
        (
            good() | dict(images=[dict(id=1, coco_url='', neg_category_ids=[])]),
            'an LVIS file: set type=LVISV1Dataset',
        ),
    ],
)
def test_other_json_is_named(content, words):
    sentences = problems(content)
    assert len(sentences) == 1 and words in sentences[0] and sentences[0].startswith('a.json ')


NAN, INFINITY = math.nan, math.inf


@pytest.mark.parametrize(
    'part, key, values, wanted',
    [
        ('images', 'id', [None, True, 1.5, NAN, [1], {}], 'an integer or a text'),
        ('images', 'file_name', [None, 3, '', ' ', ['a.jpg'], 'a\0.jpg'], 'the name of a file'),
        ('images', 'width', [None, '64', 0, -1, 64.5, NAN, INFINITY, True], 'a positive integer'),
        ('images', 'height', [None, '48', 0, 10**400], 'a positive integer'),
        ('categories', 'id', [None, [1], False], 'an integer or a text'),
        ('categories', 'name', [None, 7, '', ['cat']], 'a text'),
        ('annotations', 'id', [None, [1], {}, True], 'an integer or a text'),
        ('annotations', 'image_id', [None, [1], 1.5], 'an integer or a text'),
        ('annotations', 'category_id', [None, [1], True], 'an integer or a text'),
        (
            'annotations',
            'bbox',
            [
                None,
                [],
                [1, 2, 3],
                '1 2 3 4',
                [1, 2, '3', 4],
                [1, 2, NAN, 4],
                [1, 2, INFINITY, 4],
                [1, 2, None, 4],
                [1, 2, True, 4],
                [1, 2, 10**400, 4],
                dict(x=1, y=2, w=3, h=4),
            ],
            '[x, y, width, height] in finite numbers',
        ),
        ('annotations', 'area', [None, '122', NAN, INFINITY, [1], True], 'a finite number'),
        ('annotations', 'iscrowd', ['0', 'false', 2, -1, [], 0.5], '0 or 1'),
        ('annotations', 'ignore', ['0', 'no', 2, [0]], '0 or 1'),
    ],
)
def test_values_must_be_of_the_right_type(part, key, values, wanted):
    for value in values:
        content = good()
        content[part][1][key] = value
        (sentence,) = problems(content)
        assert f'a.json: the {key} of 1 of 2 {part} is not {wanted}; the first is ' in sentence
        assert repr(value)[:20] in sentence and 'entry 1' in sentence


def test_what_mmdet_and_coco_eval_take_is_right():
    content = good()
    content['images'][0].update(width=64.0, id=1.0)
    content['annotations'][0].update(id=str(uuid.uuid4()), iscrowd=False, ignore=None)
    content['annotations'][1].update(id=0, iscrowd=1.0, ignore=True)
    assert not problems(content, evaluated=True)
    for part, key in (('images', 'id'), ('annotations', 'image_id')):
        for entry in content[part]:
            entry[key] = f'image {entry[key]:g}'
    assert not problems(content, evaluated=True)


@pytest.mark.parametrize('value, fits', [(2**63 - 1, True), (-(2**63), True), (2**63, False)])
def test_ids_drawn_at_random_have_64_bits(value, fits):
    content = good()
    content['annotations'][1]['id'] = value
    found = problems(content)
    assert not found if fits else 'of at most 64 bits' in found[0]


@pytest.mark.parametrize('value', [None, 'absent'])
def test_only_coco_eval_needs_iscrowd(value):
    content = good()
    content['annotations'][1]['iscrowd'] = value
    if value == 'absent':
        del content['annotations'][1]['iscrowd']
    assert not problems(content)
    (sentence,) = problems(content, evaluated=True)
    assert 'iscrowd' in sentence and '0, or 1 for a crowd' in sentence


@pytest.mark.parametrize(
    'part, key, value, words',
    [
        (
            'annotations',
            'image_id',
            '1',
            ["'1' (text) against 1 (integer)", '(the first has id 2)'],
        ),
        ('annotations', 'category_id', '2', ["'2' (text) against 2 (integer)"]),
        ('annotations', 'image_id', 'x', ['the image_id of 1 annotations', "in 'images': 'x'."]),
        ('annotations', 'category_id', 9, ["not in 'categories': 9. Remove them"]),
        ('annotations', 'id', 1, ["1 ids occur more than once in 'annotations': 1."]),
        ('images', 'id', 1, ["1 ids occur more than once in 'images': 1."]),
        ('categories', 'id', 1, ["1 ids occur more than once in 'categories': 1."]),
        ('images', 'id', '2', ["1 of the 2 ids of 'images' are texts, as '2'", 'as 1: write']),
    ],
)
def test_ids_and_references(part, key, value, words):
    content = good()
    content[part][1][key] = value
    sentences = problems(content)
    assert len(sentences) == 1
    for word in words:
        assert word in sentences[0]


def test_all_that_is_wrong_is_told_at_once():
    content = good()
    content['images'][0].update(width='64', height=0)
    content['categories'][0]['name'] = None
    content['annotations'][0].update(bbox=None, area=NAN)
    del content['annotations'][1]['area']
    found = [part for part, _ in annotation_problems(content, 'a.json')]
    assert found == [*['images'] * 2, 'categories', *['annotations'] * 3]


def test_an_unlabeled_file_needs_no_annotations_but_right_ones():
    content = good()
    content['annotations'][0]['bbox'] = None
    assert len(problems(content, labels=False)) == 1  # mmdet reads them
    del content['annotations']
    assert not problems(content, labels=False) and len(problems(content)) == 1


def test_entries_that_are_no_objects():
    for part in ('images', 'categories', 'annotations'):
        content = good()
        content[part][1] = 'text'
        assert any(
            f"entries of '{part}' lack the key" in sentence for sentence in problems(content)
        )


@pytest.mark.parametrize(
    'categories, root',
    [
        ([(0, 'things', 'none'), (1, 'cat', 'things'), (2, 'dog', 'things')], 0),
        ([(0, 'cat', 'none'), (1, 'cat', 'cat')], 0),  # the project has the name of its class
        ([(1, 'cat', 'none'), (2, 'dog', 'none')], None),
        ([(0, 'things', None), (1, 'cat', 'things')], None),
        ([(1, 'things', 'none'), (2, 'cat', ['things'])], None),
        ([(5, 'things', 'none'), (1, 'cat', 'things')], None),  # has annotations
    ],
)
def test_root_category_of_roboflow(categories, root):
    content = good()
    content['categories'] = [dict(id=i, name=n, supercategory=s) for i, n, s in categories]
    content['annotations'][0]['category_id'] = 5
    found = root_category(content)
    assert (found and found['id']) == root
