"""Each bad input ends the tool with one sentence, before it has written anything."""

import argparse
import json

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from dn_mmdet.engine import CfgOptions, load_config, run_preflight
from tests.helpers.tiny import write_classifier, write_image_folder

TRAIN = 'data/annotations/instances_train2017.json'
VAL = 'data/annotations/instances_val2017.json'


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def set_option(key, value):
    return ('--cfg-options', f'{key}={value}')


def remove(name):
    def spoil(place):
        (place / name).unlink()

    return spoil


def rename(name, other):
    def spoil(place):
        (place / name).rename(place / other)

    return spoil


def write(name, content):
    def spoil(place):
        (place / name).write_bytes(content)

    return spoil


def change(name, function):
    def spoil(place):
        edit(place / name, function)

    return spoil


def drop_key(part, key):
    def function(content):
        del content[part][0][key]

    return function


def rename_class(content):
    content['categories'][3]['name'] = 'tree'


def swap_classes(content):
    names = content['categories']
    names[0], names[1] = names[1], names[0]


def add_class(content):
    content['categories'].append(dict(id=11, name='ten'))


def cut(name, number):
    def spoil(place):
        path = place / name
        path.write_bytes(path.read_bytes()[:number])

    return spoil


# What is wrong, arguments, and what the sentence must say.
DATA = {
    'data folder': (
        None,
        set_option('train_dataloader.dataset.data_root', 'nowhere'),
        ['the data folder nowhere does not exist', 'train_dataloader.dataset.data_root=FOLDER'],
    ),
    'image folder': (
        rename('data/val2017', 'data/images'),
        (),
        ['the image folder', 'data/val2017/ does not exist', 'val_dataloader.dataset.data_root'],
    ),
    'annotation file': (
        remove(VAL),
        (),
        ['instances_val2017.json does not exist', 'val_dataloader.dataset.ann_file'],
    ),
    'annotations cut off': (
        cut(TRAIN, 200),
        (),
        ['instances_train2017.json is not valid JSON at line 1, column'],
    ),
    'annotations not text': (write(TRAIN, b'{"\xff": 0}'), (), ['is not JSON: byte 2']),
    'annotations a list': (
        write(TRAIN, b'[]'),
        (),
        ['holds a list, not an object', 'not in COCO format'],
    ),
    'no categories': (
        change(TRAIN, lambda c: c.pop('categories')),
        (),
        ["instances_train2017.json lacks the list 'categories'"],
    ),
    'no images': (change(TRAIN, lambda c: c['images'].clear()), (), ['lists no images']),
    'no file_name': (
        change(TRAIN, drop_key('images', 'file_name')),
        (),
        ["1 of 8 entries of 'images' lack the key 'file_name'", 'entry 0, id 1'],
    ),
    'no height': (change(TRAIN, drop_key('images', 'height')), (), ["the key 'height'"]),
    'no bbox': (
        change(TRAIN, drop_key('annotations', 'bbox')),
        (),
        ["1 of 10 entries of 'annotations' lack the key 'bbox'"],
    ),
    'no category_id': (
        change(TRAIN, drop_key('annotations', 'category_id')),
        (),
        ["the key 'category_id'"],
    ),
    'no iscrowd': (
        change(VAL, drop_key('annotations', 'iscrowd')),
        (),
        ["instances_val2017.json: 1 of 4 entries of 'annotations' lack the key 'iscrowd'"],
    ),
    'box of three': (
        change(TRAIN, lambda c: c['annotations'][2]['bbox'].pop()),
        (),
        ['the bbox of 1 of 10 annotations is not [x, y, width, height]', 'entry 2, id 3'],
    ),
    'unknown image': (
        change(TRAIN, lambda c: c['annotations'][2].update(image_id=99)),
        (),
        ["the image_id of 1 annotations (the first has id 3) is not in 'images': 99."],
    ),
    'unknown category': (
        change(TRAIN, lambda c: c['annotations'][2].update(category_id=42)),
        (),
        ['the category_id of 1 annotations', "is not in 'categories': 42."],
    ),
    'annotation id twice': (
        change(TRAIN, lambda c: c['annotations'][2].update(id=1)),
        (),
        ["1 ids occur more than once in 'annotations': 1"],
    ),
    'class renamed': (
        change(TRAIN, rename_class),
        (),
        [
            'the class list of train_dataloader.dataset does not match',
            'instances_train2017.json',
            '1 is missing in the file (three)',
            '1 of the file is not in the list (tree)',
        ],
    ),
    'class added': (
        change(TRAIN, add_class),
        (),
        ['1 of the file is not in the list (ten)', 'preflight.class_subset=True'],
    ),
    'class list a text': (
        None,
        set_option('train_dataloader.dataset.metainfo.classes', 'zero'),
        ["is the string 'zero'", "classes=('zero', )"],
    ),
    'number of classes': (
        None,
        set_option('model.bbox_head.num_classes', '11'),
        ['model.bbox_head.num_classes is 11, but', 'has 10 names'],
    ),
    'number of classes, data elsewhere': (
        None,
        (
            *set_option('model.bbox_head.num_classes', '11'),
            'train_dataloader.dataset.backend_args=dict(_delete_=True, backend="petrel")',
        ),
        ['model.bbox_head.num_classes is 11', 'train_dataloader.dataset has 10 names'],
    ),
    'image missing': (
        remove('data/train2017/003.jpg'),
        (),
        ['1 of the 8 images of', 'instances_train2017.json', 'are not in', ': 003.jpg.'],
    ),
    'image cut off': (
        cut('data/train2017/003.jpg', 300),
        (),
        ['1 of the 8 images in', 'data/train2017/ are truncated or not images: 003.jpg.'],
    ),
    'image empty': (cut('data/val2017/001.jpg', 0), (), ['data/val2017/ are truncated', '001.jpg']),
    'evaluator file': (
        None,
        set_option('val_evaluator.ann_file', 'nowhere.json'),
        ['the annotation file nowhere.json does not exist', 'val_evaluator.ann_file'],
    ),
    'evaluator of other images': (
        None,
        set_option('val_evaluator.ann_file', VAL + '.other'),
        ['val_evaluator.ann_file is', '4 of them are not in it (000.jpg'],
    ),
}


@pytest.mark.parametrize('case', DATA)
def test_bad_data(case, place, refused):
    spoil, options, words = DATA[case]
    other = json.loads((place / VAL).read_text())
    for part, key in (('images', 'id'), ('annotations', 'image_id')):
        for entry in other[part]:
            entry[key] += 100
    (place / f'{VAL}.other').write_text(json.dumps(other))
    if spoil:
        spoil(place)
    sentence = refused('train.py', 'tiny.py', *options, folder=place)
    for word in words:
        assert word in sentence


CONFIGURATION = {
    'no file': ('nowhere.py', None, (), ['there is no configuration file nowhere.py']),
    'no Python': ('bad.py', 'a = (', (), ['bad.py', 'is not valid Python at line 1']),
    'no base': ('bad.py', "_base_ = 'nowhere.py'", (), ['bad.py cannot be read', 'nowhere.py']),
    'wrong name': ('bad.py', 'a = b', (), ['bad.py cannot be read', "name 'b' is not defined"]),
    'no import': (
        'bad.py',
        "custom_imports = dict(imports=['no_such_module'])",
        (),
        ['bad.py cannot be read', 'the package no_such_module is not installed'],
    ),
    'a part': ('bad.py', 'model = dict()', (), ['bad.py defines no train_dataloader']),
    'norm': (
        'tiny.py',
        None,
        set_option('model.backbone.norm_cfg.type', 'DNBB'),
        ["model.backbone.norm_cfg.type is 'DNBB'", "did you mean 'DNB'?"],
    ),
    'norm argument': (
        'tiny.py',
        None,
        set_option('model.backbone.norm_cfg.r', '0'),
        ['the model cannot be built', 'r must be'],
    ),
    'argument': (
        'tiny.py',
        None,
        set_option('model.backbone.widen', '2'),
        ['the model cannot be built', "unexpected keyword argument 'widen'"],
    ),
    'no optimizer': (
        'tiny.py',
        None,
        set_option('optim_wrapper.optimizer', 'None'),
        ['optim_wrapper.optimizer is None in tiny.py', 'set it as in'],
    ),
    'clip_grad': (
        'bad.py',
        "_base_ = 'tiny.py'\noptim_wrapper = dict(clip_grad=dict(_delete_=True, max_nrm=5))",
        (),
        ["optim_wrapper.clip_grad has no 'max_norm'", 'clip_grad_norm_ takes max_norm'],
    ),
    'clip_grad by nothing': (
        'bad.py',
        "_base_ = 'tiny.py'\noptim_wrapper = dict(clip_grad=dict(max_norm=0))",
        (),
        ['optim_wrapper.clip_grad.max_norm is 0, not a number above 0'],
    ),
    'clip_grad of another kind': (
        'bad.py',
        "_base_ = 'tiny.py'\noptim_wrapper = dict(clip_grad=dict(type='nrm', max_norm=5))",
        (),
        ["optim_wrapper.clip_grad.type is 'nrm': it must be 'norm', 'value'"],
    ),
    'no data preprocessor': (
        'tiny.py',
        None,
        set_option('model.data_preprocessor', 'None'),
        ['tiny.py has no data_preprocessor', 'DetDataPreprocessor'],
    ),
    'no class': (
        'tiny.py',
        None,
        set_option('model.bbox_head.num_classes', '0'),
        ['model.bbox_head.num_classes is 0', 'set model.bbox_head.num_classes=10'],
    ),
    'assertion without words': (
        'tiny.py',
        None,
        set_option('model.neck.in_channels', '[96, 1280]'),
        ['the model cannot be built', 'in_channels == out_channels', 'does not hold', 'ssd_neck'],
    ),
    'hook': (
        'tiny.py',
        None,
        set_option('default_hooks.timer.type', 'IterTimeHook'),
        ["default_hooks.timer.type is 'IterTimeHook'", "did you mean 'IterTimerHook'?"],
    ),
    'transform': (
        'tiny.py',
        None,
        set_option('train_dataloader.dataset.pipeline.2.type', 'Resise'),
        ["train_dataloader.dataset.pipeline.2.type is 'Resise'"],
    ),
    'data set': (
        'tiny.py',
        None,
        set_option('train_dataloader.dataset.type', 'CoccoDataset'),
        ["train_dataloader.dataset.type is 'CoccoDataset'", "did you mean 'CocoDataset'?"],
    ),
    'optimizer argument': (
        'tiny.py',
        None,
        set_option('optim_wrapper.optimizer.lrr', '0.1'),
        ["optim_wrapper.optimizer has the argument 'lrr'", "did you mean 'lr'?"],
    ),
    'key': (
        'tiny.py',
        None,
        set_option('optim_wraper.optimizer.lr', '0.1'),
        ["has no key 'optim_wraper'", "did you mean 'optim_wrapper'?"],
    ),
    'number': (
        'tiny.py',
        None,
        set_option('train_cfg.max_epochs', 'many'),
        ['train_cfg.max_epochs is a number in tiny.py, 2'],
    ),
    'dict': (
        'tiny.py',
        None,
        set_option('model.backbone.norm_cfg', 'BN'),
        ['model.backbone.norm_cfg is a dict in tiny.py'],
    ),
    'list place': (
        'tiny.py',
        None,
        set_option('train_dataloader.dataset.pipeline.9.type', 'Flip'),
        ['--cfg-options do not fit tiny.py', 'Index 9'],
    ),
    'amp': (
        'tiny.py',
        None,
        (*set_option('optim_wrapper.type', 'ApexOptimWrapper'), '--amp'),
        ['--amp requires', 'ApexOptimWrapper'],
    ),
    'auto-scale-lr': (
        'tiny.py',
        None,
        (*set_option('auto_scale_lr', 'None'), '--auto-scale-lr'),
        ['--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N)'],
    ),
    'launcher': ('tiny.py', None, ('--launcher', 'pytorch'), ['tools/dist_train.sh CONFIG GPUS']),
    'switches': (
        'tiny.py',
        None,
        set_option('preflight', 'False'),
        ['preflight is False, not a dict'],
    ),
    'switch': (
        'tiny.py',
        None,
        set_option('preflight.image', 'False'),
        ["preflight has no switch 'image'"],
    ),
}


@pytest.mark.parametrize('case', CONFIGURATION)
def test_bad_configuration(case, place, refused, monkeypatch):
    name, text, options, words = CONFIGURATION[case]
    if text is not None:
        (place / name).write_text(text)
    monkeypatch.delenv('RANK', raising=False)
    sentence = refused('train.py', name, *options, folder=place)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    'options, words',
    [
        (('--out', 'predictions.json'), '--out predictions.json must end in .pkl'),
        (
            ('--show-dir', 'shown', *set_option('default_hooks.visualization', 'None')),
            '--show and --show-dir need default_hooks.visualization in tiny.py',
        ),
        (set_option('test_cfg', 'None'), 'tiny.py defines no test_cfg, so it cannot test'),
        (
            set_option('test_dataloader.dataset.data_root', 'nowhere'),
            'with --cfg-options test_dataloader.dataset.data_root=FOLDER',
        ),
    ],
)
def test_bad_test(options, words, place, refused):
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(load_config('tiny.py').model)
    torch.save(model.state_dict(), place / 'weights.pth')
    assert words in refused('test.py', 'tiny.py', 'weights.pth', *options, folder=place)


@pytest.mark.parametrize('argument', ['key', '=3', 'a=[1,2'])
def test_option_that_is_no_pair_is_a_usage_error(argument, place, monkeypatch, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=CfgOptions)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(['--cfg-options', argument])
    assert stop.value.code == 2
    assert 'argument --cfg-options: ' in capsys.readouterr().err


def test_switches_lift_the_checks(place):
    """What a switch skips is not looked at; everything else still is."""
    (place / 'data/train2017/003.jpg').unlink()
    edit(place / TRAIN, add_class)
    options = {'preflight.images': False, 'preflight.class_subset': True}
    assert run_preflight(load_config('tiny.py', options), 'train') == []


def test_wrapped_data_sets_are_checked(place, refused):
    (place / 'wrapped.py').write_text(
        "_base_ = 'tiny.py'\n"
        'inner = {{_base_.train_dataloader.dataset}}\n'
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2,\n"
        "    dataset=dict(type='ConcatDataset', datasets=[inner, inner])))\n"
    )
    (place / 'data/train2017/003.jpg').unlink()
    sentence = refused('train.py', 'wrapped.py', folder=place)
    assert '1 of the 8 images' in sentence


@pytest.mark.parametrize(
    'spoil, words',
    [
        (lambda data: data.rename(data.with_name('gone')), ['the image folder', 'does not exist']),
        (
            lambda data: [f.unlink() for f in (data / 'one').iterdir()],
            ['1 of the 10 class folders', 'contain no images', ': one.'],
        ),
        (
            lambda data: (data / 'one' / '0.png').write_bytes(b'\x89PNG\r\n\x1a\n'),
            ['1 of the 10 images', 'truncated', 'one/0.png'],
        ),
    ],
)
def test_image_folders(spoil, words, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        write_image_folder(tmp_path / 'crops' / split)
    write_classifier(tmp_path)
    spoil(tmp_path / 'crops' / 'train')
    sentence = refused('train.py', 'classifier.py', folder=tmp_path)
    for word in words:
        assert word in sentence


@pytest.mark.parametrize('topk', ['[1,11]', '[0]', '11'])
def test_top_k_above_the_number_of_classes(topk, tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split in ('train', 'val'):
        write_image_folder(tmp_path / 'crops' / split)
    write_classifier(tmp_path)
    sentence = refused(
        'train.py', 'classifier.py', '--cfg-options', f'val_evaluator.topk={topk}', folder=tmp_path
    )
    for word in ('val_evaluator.topk', 'the model has 10 classes', 'between 1 and 10'):
        assert word in sentence
