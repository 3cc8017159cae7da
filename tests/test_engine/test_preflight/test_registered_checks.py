"""Checks of data sets of one's own."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mmdet.models import RPNHead
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from torch import nn

from dn_mmdet.engine import DatasetContent, load_config, register_dataset_check, run_preflight
from dn_mmdet.engine.preflight import data
from dn_mmdet.engine.preflight.planned import PlannedRun
from dn_mmdet.utils.errors import UserError
from tests.helpers.layouts import write_layout


@pytest.fixture
def registered(monkeypatch):
    """Two data sets, Plain and the Special one of it; what is registered is forgotten again."""
    monkeypatch.setattr(data, '_CHECKS', {name: [*checks] for name, checks in data._CHECKS.items()})
    plain = type('Plain', (BaseDataset,), {})
    for cls in (plain, type('Special', (plain,), {})):
        monkeypatch.setitem(DATASETS.module_dict, cls.__name__, cls)


def check(name, **more):
    cfg = dict(train_dataloader=dict(dataset=dict(type=name, **more)))
    (dataset,) = PlannedRun(Config(cfg), 'train').datasets()
    return data.check_dataset(dataset)


def test_checks_of_a_class_run_in_their_order_and_one_knows_the_classes(registered):
    called = []
    register_dataset_check('Plain')(lambda dataset: called.append(dataset.key))
    register_dataset_check('Plain')(lambda dataset: DatasetContent(dataset.cfg['names'], 7))
    register_dataset_check('Plain')(lambda dataset: called.append('last'))
    assert check('Plain', names=['a', 'b']) == DatasetContent(['a', 'b'], 7)
    assert called == ['train_dataloader.dataset', 'last']


def test_a_subclass_has_the_checks_of_its_base_until_it_has_its_own(registered):
    register_dataset_check('Plain')(lambda dataset: DatasetContent(['plain']))
    assert check('Special').classes == ['plain']
    register_dataset_check('Special')(lambda dataset: DatasetContent(['special']))
    assert check('Special').classes == ['special'] and check('Plain').classes == ['plain']


def test_a_class_without_checks_is_left_alone(registered):
    assert check('Plain') == DatasetContent()


def test_a_check_of_ones_own_stops_a_run(place, registered):
    @register_dataset_check('CocoDataset')
    def check_number(dataset):
        path = f'{dataset.cfg["data_root"]}/{dataset.cfg["ann_file"]}'
        content = dataset.run.files.annotations(path, f'{dataset.key}.ann_file')
        if len(content['images']) < 5:
            raise UserError(f'{path} has {len(content["images"])} images: give more.')

    with pytest.raises(UserError, match='instances_val2017.json has 4 images: give more.'):
        run_preflight(load_config('tiny.py'), 'train')


def test_voc_data_must_have_as_many_classes_as_the_head(place):
    write_layout('voc', place, images=1)
    key = 'train_dataloader.dataset'
    options = {
        f'{key}.type': 'XMLDataset',
        f'{key}.data_root': 'data/my_data',
        f'{key}.ann_file': 'ImageSets/Main/train.txt',
        f'{key}.data_prefix': dict(sub_data_root=''),
    }
    classes = {f'{key}.metainfo': dict(classes=('cat', 'dog'))}
    words = r'bbox_head\.num_classes is 10, but the class list of train_dataloader\.dataset has 2'
    with pytest.raises(UserError, match=words):
        run_preflight(load_config('tiny.py', options | classes), 'train')
    classes[f'{key}.metainfo'] = dict(classes=('cat'))  # no tuple
    with pytest.raises(UserError, match='is the string .cat., not a list of names'):
        run_preflight(load_config('tiny.py', options | classes), 'train')


def test_a_survey_goes_on_and_lists_everything(registered):
    @register_dataset_check('Plain')
    def check_all(dataset):
        dataset.run.refuse('the first')
        dataset.run.refuse('the second')
        dataset.run.note('by the way')
        raise UserError('the end of it')

    def plan(survey):
        datasets = [dict(type='Plain', data_root='a'), dict(type='Plain', data_root='b')]
        cfg = dict(train_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=datasets)))
        return PlannedRun(Config(cfg), 'train', survey)

    run = plan(survey=True)
    data.check_datasets(run)
    assert run.errors == ['the first', 'the second', 'the end of it']
    assert run.notes == ['by the way'], 'said once though true of both'
    run = plan(survey=False)
    with pytest.raises(UserError, match='^the first$'):
        data.check_datasets(run)
    assert run.errors == []


@pytest.mark.parametrize(
    'name, base, number, refused',
    [
        ('rpn_head', nn.Module, 1, False),
        ('rpn_head.stages.0', nn.Module, 1, False),
        ('bbox_head', RPNHead, 1, False),  # of a detector that only proposes
        ('backbone', nn.Module, -1, False),
        ('bbox_head', nn.Module, 1, True),
        ('bbox_head', nn.Module, 0, True),
        ('roi_head.bbox_head.0', nn.Module, 81, True),
    ],
)
def test_number_of_classes(name, base, number, refused, monkeypatch):
    part = nn.Module()
    part.__class__ = type('Part', (base,), {'num_classes': number})
    run = PlannedRun(Config(dict()), 'train')
    model = SimpleNamespace(named_modules=lambda: [(name, part)])
    monkeypatch.setattr(PlannedRun, 'model', model)
    with pytest.raises(UserError, match='num_classes is') if refused else nullcontext():
        data._check_number_of_classes(run, 'train_dataloader.dataset', ['cat', 'dog'])
