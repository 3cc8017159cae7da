"""What a run sets for its process, and what it makes of exceptions."""

import errno
import os

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import METRICS, DefaultScope
from mmengine.runner import checkpoint as mmengine_checkpoint

from dn_mmdet.engine import load_config
from dn_mmdet.engine.checkpoint_file import force_weights_only, read_checkpoint
from dn_mmdet.engine.run import as_user_errors, prepare_process
from dn_mmdet.utils.errors import UserError, user_errors


@pytest.mark.skipif(torch.cuda.is_available(), reason='denormals are a matter of CPU runs')
def test_denormals_count_as_zero_on_cpu():
    small = torch.tensor([1e-40])
    assert (small * 0.5).any()
    prepare_process()
    assert not (small * 0.5).any()


class _Calls:
    def __reduce__(self):
        return os.mkdir, ('hacked',)


def test_fetched_checkpoint_runs_no_code(tmp_path, monkeypatch):
    """torch.hub, which fetches, loads with the safety off."""
    path = tmp_path / 'fetched.pth'
    torch.save(dict(state_dict={}, meta=_Calls()), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        mmengine_checkpoint,
        'load_url',
        lambda *args, **kwargs: torch.load(path, map_location='cpu', weights_only=False),
    )
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UserError, match='https://example.org/a.pth is refused.* posix.mkdir'):
        read_checkpoint('https://example.org/a.pth', 'load_from')
    assert not (tmp_path / 'hacked').exists()
    torch.save(dict(state_dict={'a': torch.ones(2)}), path)
    content = read_checkpoint('https://example.org/a.pth', 'load_from')
    assert torch.equal(content['state_dict']['a'], torch.ones(2))


def test_fetching_that_fails(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('no route')

    monkeypatch.setattr(mmengine_checkpoint, 'load_url', fail)
    with pytest.raises(UserError, match=r'a.pth of load_from cannot be fetched \(no route\)'):
        read_checkpoint('https://example.org/a.pth', 'load_from')


def test_reading_is_safe_by_itself(tmp_path, monkeypatch):
    torch.save(_Calls(), tmp_path / 'hostile.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(UserError, match='hostile.pth is refused'):
        read_checkpoint('hostile.pth', 'load_from')
    assert not (tmp_path / 'hacked').exists()


def test_every_load_of_the_process_is_safe(tmp_path, monkeypatch):
    torch.save(_Calls(), tmp_path / 'hostile.pth')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    force_weights_only()
    with pytest.raises(Exception, match='posix'):
        torch.load('hostile.pth', weights_only=False)
    assert not (tmp_path / 'hacked').exists()


def test_mixed_precision_on_cpu():
    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x)

    model = Model()
    wrapper = build_optim_wrapper(
        model, dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    )
    before = model.conv.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3, 2, 2))
    assert out.dtype == torch.bfloat16
    assert model(torch.ones(1, 3, 2, 2)).dtype == torch.float32
    wrapper.update_params(out.float().sum())
    assert model.conv.weight.dtype == torch.float32
    assert not torch.equal(before, model.conv.weight)


def test_exceptions_of_a_run(place):
    cfg = load_config('tiny.py')
    with pytest.raises(UserError, match='no space is left to write to epoch_1.pth.*--resume'):
        with as_user_errors(cfg):
            raise OSError(errno.ENOSPC, 'full', 'epoch_1.pth')
    with pytest.raises(UserError, match='work cannot be written or read .*--work-dir'):
        with as_user_errors(cfg):
            raise PermissionError(errno.EACCES, 'no', 'work')
    with pytest.raises(UserError, match="unexpected keyword argument 'metrics'"):
        with DefaultScope.overwrite_default_scope('mmdet'), as_user_errors(cfg):
            METRICS.build(dict(type='CocoMetric', metrics='bbox'))
    with pytest.raises(UserError, match="a type is 'Gone', which is registered nowhere"):
        with as_user_errors(cfg):
            METRICS.build(dict(type='Gone'))
    # Bugs keep their traceback.
    for bug in (KeyError('key'), ValueError('value'), TypeError('type'), OSError(errno.EIO, 'io')):
        with pytest.raises(type(bug)) as raised, as_user_errors(cfg):
            raise bug
        assert raised.value is bug


@pytest.mark.parametrize(
    'error, status, line',
    [
        (UserError('It is wrong.'), 1, 'error: It is wrong.'),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (KeyboardInterrupt('go on with --resume'), 130, 'interrupted: go on with --resume'),
    ],
)
@pytest.mark.parametrize('rank', [None, '0', '1'])
def test_user_errors(error, status, line, rank, monkeypatch, capsys):
    monkeypatch.delenv('RANK', raising=False)
    if rank is not None:
        monkeypatch.setenv('RANK', rank)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(SystemExit) as stop, user_errors():
        raise error
    assert stop.value.code == status
    assert capsys.readouterr().err == ('' if rank == '1' else f'{line}\n')


def test_user_errors_let_bugs_through():
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0  # noqa: B018


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
