"""Two processes that train with shared statistics, against one with the whole batch."""

import pytest
import torch
from mmengine.model import revert_sync_batchnorm

from tests.helpers import synced_map
from tests.helpers.processes import run_together

SHARED = ('sync_bn=torch', 'sync_bn=mmcv', 'sync=True')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('sync')


@pytest.fixture(scope='module')
def ranks(folder):
    return run_together(synced_map.run_all, folder)


@pytest.fixture(scope='module')
def whole(folder):
    """One process with the batches of both; mmengine reverts SyncBN in it."""
    return synced_map.run(folder / 'whole', 4, sync=True).model


@pytest.mark.parametrize('name', SHARED)
def test_two_processes_train_as_one(name, ranks, whole):
    for state, text in (rank[name] for rank in ranks):
        assert 'sync=True' in text
        assert list(state) == list(whole.state_dict())
        for key, value in whole.state_dict().items():
            torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-5, msg=key)
            assert torch.equal(state[key], ranks[0][name][0][key]), key


def test_statistics_differ_without(ranks, whole):
    (first, text), (second, _) = (rank['alone'] for rank in ranks)
    assert 'sync' not in text
    assert not torch.allclose(first['norm.bn.running_mean'], second['norm.bn.running_mean'])


def test_checkpoint_serves_one_process(ranks, whole, folder):
    """With EMA's copy, a layer that shares or not, and mmengine's way back to BatchNorm."""
    saved = torch.load(folder / 'sync_bn=torch/epoch_2.pth', weights_only=False)
    assert list(saved['state_dict']) == list(whole.state_dict())
    assert 'module.norm.bn.running_var' in saved['ema_state_dict']
    images = list(torch.randn(3, 3, 6, 6))
    outputs = []
    for model in (
        synced_map.SyncedMap(),
        synced_map.SyncedMap(sync=True),
        revert_sync_batchnorm(synced_map.SyncedMap(sync=True)),
    ):
        model.load_state_dict(saved['state_dict'])
        outputs.append(model.eval()(images))
    assert torch.equal(outputs[0], outputs[1]) and torch.equal(outputs[0], outputs[2])
