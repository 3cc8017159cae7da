"""What a run makes of exceptions."""

import errno

import pytest
import torch
from mmengine.registry import METRICS, DefaultScope

from dn_mmdet.engine import load_config
from dn_mmdet.engine.run_errors import as_user_errors
from dn_mmdet.utils.errors import UserError


def test_exceptions_of_a_run(place):
    cfg = load_config('tiny.py')
    with pytest.raises(UserError, match='no disk space is left to write epoch_1.pth.*--resume'):
        with as_user_errors(cfg):
            raise OSError(errno.ENOSPC, 'full', 'epoch_1.pth')
    with pytest.raises(UserError, match='work cannot be written or read .*--work-dir'):
        with as_user_errors(cfg):
            raise PermissionError(errno.EACCES, 'no', 'work')
    with pytest.raises(UserError, match="unexpected keyword argument 'metrics'"):
        with DefaultScope.overwrite_default_scope('mmdet'), as_user_errors(cfg):
            METRICS.build(dict(type='CocoMetric', metrics='bbox'))
    with pytest.raises(UserError, match="a type is 'Gone', which is not registered anywhere"):
        with as_user_errors(cfg):
            METRICS.build(dict(type='Gone'))
    # Bugs keep their traceback.
    for bug in (KeyError('key'), ValueError('value'), TypeError('type'), OSError(errno.EIO, 'io')):
        with pytest.raises(type(bug)) as raised, as_user_errors(cfg):
            raise bug
        assert raised.value is bug


@pytest.mark.parametrize('layer', ['torch', 'dn_mmdet'])
def test_one_value_per_channel_names_the_batch_size(layer, place):
    from dn_mmdet.layers import DNB

    norm = torch.nn.BatchNorm2d(4) if layer == 'torch' else DNB(4)
    with pytest.raises(UserError, match='(?s)got input size .*train_dataloader.batch_size=2'):
        with as_user_errors(load_config('tiny.py')):
            norm(torch.zeros(1, 4, 1, 1))
    with pytest.raises(ValueError, match='something else'):
        with as_user_errors(load_config('tiny.py')):
            raise ValueError('something else')
