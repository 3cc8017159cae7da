"""``--cfg-options data_root=FOLDER`` reaches all data; other names of a file that do nothing do not
pass in silence."""

import os

import pytest
from mmengine.config import Config

from dn_mmdet.engine import load_config
from dn_mmdet.engine.data_root import use_data_root
from dn_mmdet.engine.preflight import PlannedRun
from dn_mmdet.engine.preflight.registries import dicts_in
from dn_mmdet.utils.errors import UserError
from tests.helpers.tiny import REPOSITORY

CONFIGS = [
    REPOSITORY / 'configs' / name
    for name in (
        'ssdlite_mbv2_dnb_coco.py',
        'digits/ssdlite_mbv2_bn_digits.py',
        'digits/mbv2_dnb_digits.py',
        'imagenet100/mbv2_bn.py',
    )
]


def strings(cfg):
    """Dotted key to text, in all loaders and evaluators."""
    return {
        f'{place}.{key}': value
        for part in ('train', 'val', 'test')
        for kind in ('dataloader', 'evaluator')
        for place, node in dicts_in(cfg.get(f'{part}_{kind}'), f'{part}_{kind}')
        for key, value in node.items()
        if isinstance(value, str)
    }


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize('root', ['elsewhere/', '/data/mine', 'data', 'data/imagenet100/mine/'])
def test_it_is_as_if_the_file_said_it(path, root):
    plain = load_config(str(path))
    old, moved = plain.data_root, load_config(str(path), {'data_root': root})
    assert moved.data_root == root
    before, after = strings(plain), strings(moved)
    changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
    assert {key.partition('_')[0] for key in changed} == {'train', 'val', 'test'}
    for one, other in changed.values():
        assert os.path.normpath(os.path.join(root, os.path.relpath(one, old))) == os.path.normpath(
            other
        )
    inside = os.path.join(old, '')
    assert not any(
        os.path.join(value, '').startswith(inside)
        for key, value in before.items()
        if key not in changed
    )


def config(*roots, stated=None, **more):
    parts = zip(('train', 'val', 'test'), roots)
    loaders = {f'{part}_dataloader': dict(dataset=dict(data_root=root)) for part, root in parts}
    return Config(dict(data_root=stated, **loaders, **more))


@pytest.mark.parametrize(
    'old, path, moved',
    [
        ('data/coco/', 'data/coco/annotations/a.json', 'new/annotations/a.json'),
        ('data/coco', './data/coco//a.json', 'new/a.json'),
        ('data/coco', 'data/coco', 'new'),
        ('data/coco', 'data/coco/', 'new/'),
        ('data/coco', 'data/coco2017/a.json', 'data/coco2017/a.json'),
        ('data/coco', 'other/data/coco/a.json', 'other/data/coco/a.json'),
        ('/data', '/data/a.json', 'new/a.json'),
        ('./', 'annotations/a.json', 'new/annotations/a.json'),
        ('', 'annotations/a.json', 'new/annotations/a.json'),
        ('', '/annotations/a.json', '/annotations/a.json'),
    ],
)
def test_files_of_evaluators(old, path, moved):
    metric = dict(type='CocoMetric', ann_file=path, metric='bbox')
    cfg = config(old, old, stated=old, val_evaluator=[dict(type='Other'), metric])
    use_data_root(cfg, 'new')
    assert cfg.val_evaluator == [dict(type='Other'), dict(metric, ann_file=moved)]
    assert cfg.train_dataloader.dataset.data_root == ('new/' if old.endswith('/') else 'new')


def test_one_dict_in_several_places_is_moved_once():
    inner = dict(data_root='data/', pipeline=[dict(type='Load', folder=('data/masks/', 1))])
    loader = dict(dataset=dict(type='ConcatDataset', datasets=[inner, inner]))
    cfg = Config(dict(train_dataloader=loader, val_dataloader=loader))
    use_data_root(cfg, 'data/mine')
    for part in (cfg.train_dataloader, cfg.val_dataloader):
        for dataset in part.dataset.datasets:
            assert dataset.data_root == 'data/mine/'
            assert dataset.pipeline[0].folder == ('data/mine/masks/', 1)


def test_a_name_that_the_data_sets_do_not_use_means_their_folder():
    cfg = config('data/coco', 'data/coco/', stated='data/mine')
    use_data_root(cfg, 'new')
    assert cfg.train_dataloader.dataset.data_root == 'new'


@pytest.mark.parametrize(
    'cfg, root, words',
    [
        (config('a', 'b'), 'new', 'have several folders, a, b: set them one by one'),
        (config(), 'new', 'no data set of .* has a data_root'),
        (config('a'), 2024, 'is read as 2024, which is not text: write data_root=./2024'),
    ],
)
def test_which_folder_is_not_clear(cfg, root, words):
    with pytest.raises(UserError, match=words):
        use_data_root(cfg, root)


def test_one_that_is_set_by_itself_wins(tmp_path):
    options = {'data_root': 'all', 'val_dataloader.dataset.data_root': 'other'}
    cfg = load_config(str(CONFIGS[0]), options)
    assert cfg.train_dataloader.dataset.data_root == 'all/'
    assert cfg.val_dataloader.dataset.data_root == 'other'
    assert cfg.val_evaluator.ann_file == 'all/annotations/instances_val2017.json'


@pytest.mark.parametrize(
    'cfg, option',
    [
        (config('data/', 'data', stated='./data'), 'data_root'),
        (config('data'), 'data_root'),
        # It would move other data sets too, or be another folder.
        (config('data', 'elsewhere', stated='data'), 'train_dataloader.dataset.data_root'),
        (config('data/coco', 'data/coco', stated='data'), 'train_dataloader.dataset.data_root'),
    ],
)
def test_it_is_recommended_where_it_moves_all(cfg, option):
    data = next(PlannedRun(cfg, 'train').datasets())
    assert data.root_option == option
