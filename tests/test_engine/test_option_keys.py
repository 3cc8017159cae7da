"""Options that would change nothing are refused, with the key that would."""

import pytest

from dn_mmdet.engine import load_config
from dn_mmdet.utils.errors import UserError

FILE = """
max_epochs = 3
batch = 8
scale = (64, 64)
base_lr = 0.01
metainfo = dict(classes=('cat', 'dog'))
pipeline = [dict(type='Resize', scale=scale)]
model = dict(type='Toy', head=dict(num_classes=2))
train_dataloader = dict(batch_size=batch, dataset=dict(pipeline=pipeline, metainfo=metainfo))
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=base_lr * 2))
randomness = dict(seed=0)
{more}
"""


@pytest.fixture
def load(tmp_path):
    def load(options, more=''):
        path = tmp_path / 'a.py'
        path.write_text(FILE.format(more=more))
        return load_config(str(path), options)

    return load


@pytest.mark.parametrize(
    'key, value, words',
    [
        ('max_epochs', 5, 'max_epochs is only a name in .*a.py, .*: set train_cfg.max_epochs.$'),
        ('batch', 4, 'set train_dataloader.batch_size.$'),
        ('scale', (32, 32), 'set train_dataloader.dataset.pipeline.0.scale.$'),
        ('pipeline.0.scale', (32, 32), 'set train_dataloader.dataset.pipeline.0.scale.$'),
        ('metainfo.classes', ('cow',), 'set train_dataloader.dataset.metainfo.classes.$'),
        ('base_lr', 0.1, 'base_lr is only a name in .*: set what it was used for.$'),
        # As in mmdet 2, or as one may hope.
        ('optimizer.lr', 0.1, "no key 'optimizer', and nothing .*mean optim_wrapper.optimizer.lr?"),
        ('lr', 0.1, 'did you mean optim_wrapper.optimizer.lr?'),
        ('seed', 1, 'did you mean randomness.seed?'),
        ('num_classes', 3, 'did you mean model.head.num_classes?'),
        ('data.samples_per_gpu', 2, "no key 'data', and nothing reads one; correct the key"),
        ('optim_wraper.optimizer.lr', 0.1, "did you mean 'optim_wrapper'?"),
    ],
)
def test_refused(key, value, words, load):
    with pytest.raises(UserError, match=words.replace('?', r'\?')):
        load({key: value})


@pytest.mark.parametrize(
    'key, value',
    [
        ('max_epochs', 3),  # as it is
        ('train_cfg.max_epochs', 5),
        ('work_dir', 'elsewhere'),
        ('preflight.images', False),
        ('find_unused_parameters', True),
        ('val_cfg', None),
        ('custom_hooks', []),
        ('resume', True),
    ],
)
def test_what_is_read_passes(key, value, load):
    load({key: value})


def test_code_of_ones_own_may_read_any_key(load):
    own = "custom_imports = dict(imports=['json'])"
    assert load({'my_key': 1}, own).my_key == 1
    assert load({'base_lr': 0.1}, own).base_lr == 0.1
    with pytest.raises(UserError, match='my_key'):
        load({'my_key': 1}, "custom_imports = dict(imports=['dn_mmdet.engine'])")
    with pytest.raises(UserError, match='set train_cfg.max_epochs'):
        load({'max_epochs': 5}, own)


def test_the_size_of_an_image_is_read_where_no_pipeline_says_it(tmp_path):
    path = tmp_path / 'alone.py'
    path.write_text("input_size = (96, 96)\nmodel = dict(type='DNB')\n")
    assert load_config(str(path), {'input_size': (64, 64)}).input_size == (64, 64)
