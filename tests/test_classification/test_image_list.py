"""Annotation lists: what the data set reads, and what the check before a run says of wrong ones."""

import gzip

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from dn_mmdet.classification import ImageList
from dn_mmdet.engine.preflight.data import check_dataset
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.utils.errors import UserError

KEY = 'train_dataloader.dataset'
LINES = ('a/0.png 0', 'b/1 of two.png 1', 'b/2.JPEG 1', 'c/3.png 2')


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Images in images/root/, the list in lists/train.txt, and the process beside them."""
    for i, line in enumerate(LINES):
        path = tmp_path / 'images/root' / line.rsplit(' ', 1)[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 5, 3), 20 * i, dtype=np.uint8)).save(path)
    (tmp_path / 'lists').mkdir()
    write(tmp_path, *LINES)
    (tmp_path / 'lists/classes.txt').write_text('# in this order\nsnail\nape\nzebra\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(place, *lines):
    (place / 'lists/train.txt').write_text('\n'.join(lines) + '\n')


def config(**options):
    return dict(
        type='ImageList',
        data_root='images',
        data_prefix=dict(img_path='root'),
        ann_file='lists/train.txt',
        **options,
    )


def check(cfg, **switches):
    run = PlannedRun(Config(dict(train_dataloader=dict(dataset=cfg), preflight=switches)), 'train')
    return [(data.key, check_dataset(data).classes) for data in run.datasets()]


def test_items_and_classes(place):
    write(place, LINES[2], '', *LINES)
    dataset = DATASETS.build(config(pipeline=[dict(type='LoadImageFromFile')]))
    assert isinstance(dataset, ImageList) and len(dataset) == 5
    assert dataset.metainfo['classes'] == ('snail', 'ape', 'zebra')
    items = [dataset.get_data_info(i) for i in range(5)]
    assert [(item['img_path'], item['gt_label']) for item in items] == [
        ('images/root/b/2.JPEG', 1),
        ('images/root/a/0.png', 0),
        ('images/root/b/1 of two.png', 1),
        ('images/root/b/2.JPEG', 1),
        ('images/root/c/3.png', 2),
    ]
    assert dataset[4]['img'].shape == (4, 5, 3) and (dataset[4]['img'] == 60).all()


def test_paths_start_at_data_root_and_classes_may_be_given(place):
    (place / 'lists/classes.txt').unlink()
    cfg = config(metainfo=dict(classes=['x', 'y', 'z'])) | dict(
        data_root='images/root', data_prefix=dict(img_path='')
    )
    dataset = DATASETS.build(cfg)
    assert dataset.get_data_info(0)['img_path'] == 'images/root/a/0.png'
    assert dataset.metainfo['classes'] == ('x', 'y', 'z')
    assert check(cfg) == [(KEY, ['x', 'y', 'z'])]
    cfg['ann_file'] = str(place / 'lists/train.txt')
    del cfg['data_prefix']
    assert DATASETS.build(cfg).get_data_info(3)['img_path'] == 'images/root/c/3.png'
    assert check(cfg) == [(KEY, ['x', 'y', 'z'])]


def test_a_right_list_passes_the_check(place):
    wrapped = dict(type='RepeatDataset', times=2, dataset=config())
    assert check(wrapped) == [(f'{KEY}.dataset', ['snail', 'ape', 'zebra'])]


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_lists_with_a_byte_order_mark(encoding, place):
    for name in ('train.txt', 'classes.txt'):
        path = place / 'lists' / name
        path.write_bytes(path.read_text().removeprefix('# in this order\n').encode(encoding))
    assert check(config()) == [(KEY, ['snail', 'ape', 'zebra'])]


MISTAKES = {
    'no list': (
        lambda p: (p / 'lists/train.txt').unlink(),
        ["'lists/train.txt' does not exist", f'{KEY}.ann_file', 'not to data_root'],
    ),
    'empty': (lambda p: write(p, '', ' '), ['lists/train.txt is empty', f'{KEY}.ann_file']),
    'not text': (
        lambda p: (p / 'lists/train.txt').write_bytes(b'a.png 0\n\xff\xd8'),
        ['lists/train.txt is not text: byte 8'],
    ),
    'an archive': (
        lambda p: (p / 'lists/train.txt').write_bytes(gzip.compress(b'a.png 0')),
        ['lists/train.txt is a gzip archive, not a list in plain text: unpack it'],
    ),
    'an HTML page': (
        lambda p: (p / 'lists/classes.txt').write_text('<!doctype html>'),
        ['lists/classes.txt is an HTML page, not a list in plain text'],
    ),
    'no classes': (
        lambda p: (p / 'lists/classes.txt').unlink(),
        ['lists/classes.txt', 'one name per line', 'metainfo=dict(classes=[...])'],
    ),
    'class twice': (
        lambda p: (p / 'lists/classes.txt').write_text('ape\nape\ndog\n'),
        ['lists/classes.txt names 1 classes more than once: ape'],
    ),
    'classes empty': (
        lambda p: (p / 'lists/classes.txt').write_text('\n'),
        ['lists/classes.txt is [], not a list'],
    ),
    'no label': (
        lambda p: write(p, *LINES[:3], 'c/3.png'),
        ["1 of the 4 lines of lists/train.txt are wrong: line 4 ('c/3.png') has no label"],
    ),
    'no label, blank': (
        lambda p: write(p, 'b/1 of two.png', *LINES),
        ["line 1 ('b/1 of two.png') has no label"],
    ),
    'no integer': (
        lambda p: write(p, *LINES, '', 'c/3.png zebra'),
        ["line 6 ('c/3.png zebra') has the label 'zebra', which is not an integer"],
    ),
    'negative': (
        lambda p: write(p, LINES[0], 'c/3.png -1'),
        ["line 2 ('c/3.png -1') has a label outside 0 to 2, the 3 classes"],
    ),
    'many': (
        lambda p: write(p, *(f'{i}.png 3' for i in range(5)), LINES[0]),
        ['5 of the 6 lines', 'line 1 (', 'line 2 (', 'line 3 (', '0 to 2', 'and 2 more'],
    ),
    'no folder': (
        lambda p: (p / 'images').rename(p / 'elsewhere'),
        ['image folder images/root does not exist', '--cfg-options data_root=FOLDER'],
    ),
    'image missing': (
        lambda p: write(p, *LINES, 'c/4.png 1', LINES[0], 'd/5.png 2'),
        [
            '2 of the 7 images of lists/train.txt are not in images/root: c/4.png (line 5), '
            'd/5.png (line 7)'
        ],
    ),
    'image broken': (
        lambda p: (p / 'images/root/b/1 of two.png').write_bytes(b''),
        ['1 of the 4 images in images/root are truncated or not images: b/1 of two.png (line 2)'],
    ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_told_with_its_line(place, name):
    spoil, words = MISTAKES[name]
    spoil(place)
    with pytest.raises(UserError) as error:
        check(config())
    assert '\n' not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize('name', ['no list', 'no classes', 'no label', 'negative'])
def test_the_data_set_itself_refuses_a_wrong_list(place, name):
    MISTAKES[name][0](place)
    with pytest.raises(UserError):
        DATASETS.build(config())


def test_images_are_not_opened_if_not_asked_for(place):
    write(place, *LINES, 'c/4.png 1')
    assert check(config(), images=False) == [(KEY, ['snail', 'ape', 'zebra'])]


def test_the_model_must_have_as_many_classes(place):
    from dn_mmdet.engine import run_preflight

    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=config(),
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    model = dict(
        type='ImageClassifier',
        num_classes=3,
        in_channels=1280,
        backbone=dict(type='MobileNetV2DN', widen_factor=0.25, out_indices=(7,)),
    )
    cfg = Config(
        dict(
            model=model,
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        )
    )
    cfg.load_from = None
    assert run_preflight(cfg, 'train') == []
    cfg.model.num_classes = 4
    with pytest.raises(UserError, match=f'model.num_classes is 4, but .* {KEY} has 3 names'):
        run_preflight(cfg, 'train')
