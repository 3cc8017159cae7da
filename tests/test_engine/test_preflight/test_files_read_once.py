"""A file that several parts of a run name is read once, and not kept longer than the check."""

import gc
import weakref

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.engine.preflight.planned import Files
from tests.helpers.checkpoints import save
from tests.helpers.opened import opened  # noqa: F401
from tests.helpers.tiny import write_config

VAL = 'annotations/instances_val2017.json'


def test_annotations_of_training_validation_and_evaluator(place, opened):  # noqa: F811
    options = {
        # One file by three names.
        'train_dataloader.dataset.data_root': 'data/',
        'train_dataloader.dataset.ann_file': f'../data/{VAL}',
        'train_dataloader.dataset.data_prefix.img': 'val2017/',
        'val_evaluator.ann_file': f'./data/{VAL}',
    }
    run_preflight(load_config('tiny.py', options), 'train')
    assert opened['instances_val2017.json'] == 1
    assert opened['000.jpg'] == 1  # the folder too


def test_a_data_set_that_is_read_twice_is_checked_once(place, opened):  # noqa: F811
    options = {
        'train_dataloader.dataset.ann_file': VAL,
        'train_dataloader.dataset.data_prefix.img': 'val2017/',
    }
    run_preflight(load_config('tiny.py', options), 'train')
    assert opened['000.jpg'] == 1


@pytest.mark.parametrize(
    'config, mode, options',
    [
        ('tiny.py', 'train', {}),
        ('tiny.py', 'train', {'resume': True}),
        ('pretrained.py', 'train', {'model.backbone.init_cfg.checkpoint': 'model.pth'}),
        ('tiny.py', 'test', {}),
    ],
)
def test_checkpoints(config, mode, options, place, opened):  # noqa: F811
    write_config(place, name='pretrained.py', more='model = dict()')
    with DefaultScope.overwrite_default_scope('mmdet'):
        save('model.pth', MODELS.build(load_config('tiny.py').model).state_dict())
    opened.clear()
    cfg = load_config(config, {'load_from': './model.pth', **options})
    run_preflight(cfg, mode)
    assert opened['model.pth'] == 1


def test_one_path_as_two_kinds_of_file_is_read_as_both(tmp_path):
    torch.save({'a': torch.ones(2)}, tmp_path / 'file')
    files = Files()
    assert 'a' in files.checkpoint(str(tmp_path / 'file'), 'load_from')
    with pytest.raises(Exception, match='is not JSON'):
        files.annotations(str(tmp_path / 'file'), 'ann_file')


def test_the_memory_is_free_when_the_run_begins(place, monkeypatch):
    made = []

    def init(self):
        plain(self)
        made.append(weakref.ref(self))

    plain = Files.__init__
    monkeypatch.setattr(Files, '__init__', init)
    run_preflight(load_config('tiny.py'), 'train')
    gc.collect()
    assert len(made) == 1 and made[0]() is None
