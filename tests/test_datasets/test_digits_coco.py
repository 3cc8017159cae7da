"""The embedded data set, as its tool writes it: layout, annotations, same bytes, safe re-runs."""

import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dn_mmdet.datasets import DigitsSpec, build_digits_coco
from dn_mmdet.datasets.digits import PHOTOGRAPHS, load_glyphs
from dn_mmdet.datasets.digits import build as writers
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/digits_coco.py'
SPEC = DigitsSpec(train=120, val=60, crops_train=30, crops_val=20)
TINY = DigitsSpec(train=3, val=2, crops_train=4, crops_val=3)

FEW = ('--train', 3, '--val', 2, '--crops-train', 4, '--crops-val', 3)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'digits'
    build_digits_coco(out, SPEC)
    return out


def annotations(folder, split):
    return json.loads((folder / 'annotations' / f'instances_{split}2017.json').read_text())


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['digits_coco.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


# What is written


@pytest.mark.parametrize('split, scenes, crops', [('train', 120, 30), ('val', 60, 20)])
def test_layout(data, split, scenes, crops):
    names = [image['file_name'] for image in annotations(data, split)['images']]
    assert names == [f'{i:012d}.jpg' for i in range(1, scenes + 1)]
    assert sorted(path.name for path in (data / f'{split}2017').iterdir()) == names
    classes = sorted((data / 'crops' / split).iterdir())
    assert [path.name for path in classes] == [str(digit) for digit in range(10)]
    assert all(len(list(path.glob('*.jpg'))) == crops // 10 for path in classes)
    for path, size in ((data / f'{split}2017' / names[-1], 160), (min(classes[3].iterdir()), 80)):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ('JPEG', 'RGB', (size, size))


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_are_whole(data, split):
    document = annotations(data, split)
    names = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
    assert [(c['id'], c['name']) for c in document['categories']] == list(enumerate(names, 1))
    assert {'description', 'url', 'version', 'year', 'contributor', 'date_created'} <= set(
        document['info']
    )
    licenses = {license_['id'] for license_ in document['licenses']}
    images = {image['id']: image for image in document['images']}
    assert len(images) == len(document['images'])
    assert all(image['license'] in licenses for image in images.values())
    assert len({a['id'] for a in document['annotations']}) == len(document['annotations'])
    labels = load_glyphs()[split]
    written = dict(zip_strict(labels.indices.tolist(), labels.labels.tolist()))
    for annotation in document['annotations']:
        x, y, width, height = annotation['bbox']
        image = images[annotation['image_id']]
        assert min(x, y) >= 0 and min(width, height) > 0
        assert x + width <= image['width'] and y + height <= image['height']
        assert annotation['area'] == width * height and annotation['iscrowd'] == 0
        assert annotation['category_id'] == written[annotation['digit']] + 1


def test_digits_and_photographs_of_val_are_held_out(data):
    train, val = annotations(data, 'train'), annotations(data, 'val')
    digits = [{a['digit'] for a in document['annotations']} for document in (train, val)]
    photographs = [{i['photograph'] for i in document['images']} for document in (train, val)]
    assert not digits[0] & digits[1]
    assert not photographs[0] & photographs[1]
    held_out = {photo.name for photo in PHOTOGRAPHS if photo.held_out}
    assert photographs == [{photo.name for photo in PHOTOGRAPHS} - held_out, held_out]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_sizes_counts_and_empty_images(data, split):
    document = annotations(data, split)
    areas = np.array([a['area'] for a in document['annotations']])
    small, large = np.mean(areas < 32**2), np.mean(areas > 96**2)
    assert 0.1 < small < 0.35 and 0.1 < large < 0.3 and 1 - small - large > 0.5
    per_image = np.bincount(
        [a['image_id'] for a in document['annotations']], minlength=len(document['images']) + 1
    )[1:]
    assert per_image.min() == 0 and per_image.max() == 6 and np.mean(per_image == 0) < 0.1
    counts = json.loads((data / 'digits.json').read_text())['counts'][split]
    assert counts == {
        'images': len(per_image),
        'empty': int((per_image == 0).sum()),
        'digits': len(areas),
        'small': int((areas < 32**2).sum()),
        'large': int((areas > 96**2).sum()),
        'medium': int(((areas >= 32**2) & (areas <= 96**2)).sum()),
    }


def test_boxes_are_tight_on_the_ink_in_the_files(data):
    """Ink is lighter than any background, so the stored pixels themselves tell where it ends."""
    checked = 0
    for split in ('train', 'val'):
        document = annotations(data, split)
        for image in document['images']:
            boxes = [a['bbox'] for a in document['annotations'] if a['image_id'] == image['id']]
            if len(boxes) != 1:
                continue
            with Image.open(data / f'{split}2017' / image['file_name']) as stored:
                ink = np.asarray(stored.convert('L')) > 0.62 * 255
            rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
            x, y, width, height = boxes[0]
            seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            assert np.abs(seen - [x, y, x + width, y + height]).max() <= 3
            checked += 1
    assert checked > 20


def test_pycocotools_finds_the_annotations_perfect_against_themselves(data, capsys):
    coco_api = pytest.importorskip('pycocotools.coco')
    from pycocotools.cocoeval import COCOeval

    truth = coco_api.COCO(str(data / 'annotations/instances_val2017.json'))
    found = truth.loadRes(
        [
            {
                'image_id': a['image_id'],
                'category_id': a['category_id'],
                'bbox': a['bbox'],
                'score': 1,
            }
            for a in truth.dataset['annotations']
        ]
    )
    evaluation = COCOeval(truth, found, 'bbox')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    # mAP, and mAP of small, medium and large boxes: -1 would mean that there are none.
    np.testing.assert_allclose(evaluation.stats[[0, 3, 4, 5]], 1)


def test_mmdet_reads_it(data):
    coco = pytest.importorskip('mmdet.datasets')
    names = tuple(c['name'] for c in annotations(data, 'train')['categories'])
    dataset = coco.CocoDataset(
        ann_file=str(data / 'annotations/instances_train2017.json'),
        metainfo={'classes': names},
        data_prefix={'img': str(data / 'train2017')},
        pipeline=[],
    )
    assert len(dataset) == SPEC.train
    boxes = sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert boxes == len(annotations(data, 'train')['annotations'])


# Same bytes


def test_same_seed_same_bytes_whatever_the_counts(data, tmp_path):
    build_digits_coco(tmp_path / 'a', TINY)
    build_digits_coco(tmp_path / 'b', TINY)
    small, whole = digests(tmp_path / 'a'), digests(data)
    assert small == digests(tmp_path / 'b')
    images = [name for name in small if name.endswith('.jpg')]
    assert len(images) == 12
    assert all(small[name] == whole[name] for name in images)
    for split in ('train', 'val'):
        few = annotations(tmp_path / 'a', split)['annotations']
        assert few == annotations(data, split)['annotations'][: len(few)]


def test_other_seed_other_bytes(tmp_path):
    build_digits_coco(tmp_path / 'a', TINY)
    build_digits_coco(tmp_path / 'b', DigitsSpec(**{**vars(TINY), 'seed': 1}))
    one, other = digests(tmp_path / 'a'), digests(tmp_path / 'b')
    assert one.keys() == other.keys()
    assert not [name for name in one if name.endswith('.jpg') and one[name] == other[name]]


def test_no_two_images_are_alike(data):
    images = {name: value for name, value in digests(data).items() if name.endswith('.jpg')}
    assert len(set(images.values())) == len(images) == 230


# Run again


def test_a_complete_set_is_left_alone(tmp_path, capsys):
    out = tmp_path / 'digits'
    made = build_digits_coco(out, TINY)
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    assert build_digits_coco(out, TINY) == made
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before
    assert 'is complete' in capsys.readouterr().out


def test_other_arguments_need_force(tmp_path):
    out = tmp_path / 'digits'
    build_digits_coco(out, TINY)
    before = digests(out)
    other = DigitsSpec(**{**vars(TINY), 'train': 4})
    with pytest.raises(UserError, match=r'--train 3 \(asked for: 4\); pass --force'):
        build_digits_coco(out, other)
    assert digests(out) == before
    build_digits_coco(out, other, force=True)
    assert len(list((out / 'train2017').iterdir())) == 4
    assert [path.name for path in tmp_path.iterdir()] == ['digits']


def test_a_lost_image_is_noticed(tmp_path):
    out = tmp_path / 'digits'
    build_digits_coco(out, TINY)
    (out / 'val2017/000000000002.jpg').unlink()
    with pytest.raises(UserError, match='1 of 2 images .*val2017.*--force'):
        build_digits_coco(out, TINY)
    build_digits_coco(out, TINY, force=True)
    assert (out / 'val2017/000000000002.jpg').is_file()


@pytest.mark.parametrize('force', [False, True])
def test_what_others_made_is_never_replaced(tmp_path, force):
    coco = tmp_path / 'coco'
    (coco / 'annotations').mkdir(parents=True)
    (coco / 'annotations/instances_train2017.json').write_text('{}')
    with pytest.raises(UserError, match='contains files that this tool did not make'):
        build_digits_coco(coco, TINY, force=force)
    (coco / 'digits.json').write_text('{"arguments": ')
    with pytest.raises(UserError, match='cannot be read'):
        build_digits_coco(coco, TINY, force=force)
    assert (coco / 'annotations/instances_train2017.json').read_text() == '{}'


def test_force_spares_a_file_that_was_added(tmp_path):
    out = tmp_path / 'digits'
    build_digits_coco(out, TINY)
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(UserError, match='notes.txt'):
        build_digits_coco(out, TINY, force=True)
    assert (out / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize('error', [KeyboardInterrupt, OSError('disk full')])
def test_an_interrupt_leaves_nothing_half_made(tmp_path, monkeypatch, error):
    out = tmp_path / 'digits'

    def fail(*args):
        assert len(list(tmp_path.rglob('*.jpg'))) >= 3
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(writers, 'compose_crop', fail)
        with pytest.raises((KeyboardInterrupt, UserError)):
            build_digits_coco(out, TINY)
    assert not list(tmp_path.iterdir())

    build_digits_coco(out, TINY)
    before = digests(tmp_path)
    monkeypatch.setattr(writers, 'compose_crop', fail)
    with pytest.raises((KeyboardInterrupt, UserError)):
        build_digits_coco(out, DigitsSpec(**{**vars(TINY), 'seed': 1}), force=True)
    assert digests(tmp_path) == before


# The command


def test_preview_shows_the_boxes(tmp_path, monkeypatch):
    out = tmp_path / 'digits'
    arguments = ('--out', out, '--train', 20, '--val', 2, '--crops-train', 10, '--crops-val', 10)
    run_tool(monkeypatch, *arguments, '--preview')
    with Image.open(out / 'preview.png') as image:
        sheet = np.asarray(image.convert('RGB'))
    (out / 'preview.png').unlink()
    # The first tile starts at (6, 26) and is 224 pixels wide: look for its first box's left side.
    box = annotations(out, 'train')['annotations'][0]
    assert box['image_id'] == 1
    x, y, _, height = (224 / 160 * value for value in box['bbox'])
    line = sheet[26 + round(y) + 16 : 26 + round(y + height) - 1, round(6 + x - 1)]
    assert len(line) > 10 and (line == line[0]).all() and np.ptp(line[0]) > 60
    # Asked for later, a picture needs no new images.
    before = digests(out)
    run_tool(monkeypatch, *arguments, '--preview', tmp_path / 'sheets/other.png')
    with Image.open(tmp_path / 'sheets/other.png') as image:
        assert (np.asarray(image.convert('RGB')) == sheet).all()
    assert digests(out) == before


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--train', 0], ['--train', 'is 0', 'at least 1']),
        (['--crops-val', -5], ['--crops-val', '-5']),
        (['--image-size', 63], ['--image-size', '63', '64 to 2048']),
        (['--crop-size', 4000], ['--crop-size', '4000', '32 to 2048']),
        (['--seed', -1], ['--seed', '-1']),
        (['--preview', 'sheet.word'], ['sheet.word']),
        (['--out', '{tmp}/file'], ['file', 'is a file']),
        (['--out', '{tmp}/file/digits'], ['file/digits:', 'Not a directory', '--out']),
    ],
)
def test_a_wrong_argument_ends_in_a_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    (tmp_path / 'file').write_text('kept')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        run_tool(monkeypatch, *FEW, *(str(a).format(tmp=tmp_path) for a in arguments))
    message = capsys.readouterr().err
    assert stop.value.code == 1 and message.count('\n') == 1
    assert all(word in message for word in words)
    assert [path.name for path in tmp_path.iterdir()] == ['file']
    assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize(
    'module, words',
    [
        ('sklearn.datasets', 'digits come with scikit-learn'),
        ('sklearn', '(digits|photographs) come with scikit-learn'),
        ('skimage', 'photographs come with scikit-image'),
    ],
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=words + r'.* pip install "dn_mmdet\[demo\]"'):
        build_digits_coco(tmp_path / 'digits', TINY)
    assert not list(tmp_path.iterdir())


def test_the_command_itself(tmp_path):
    command = [sys.executable, TOOL, '--out', tmp_path / 'digits', '--val', '0']
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(TOOL.parents[2])},
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == 'error: --val is 0; it must be at least 1.'
    assert 'Traceback' not in done.stderr
