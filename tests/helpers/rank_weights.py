"""A hook that writes the weights of each process, to be compared with those of the others."""

from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

CONFIG = """
custom_imports = dict(imports=['dn_mmdet', 'tests.helpers.rank_weights'])
custom_hooks = [dict(type='RankWeightsHook')]
"""


@HOOKS.register_module()
class RankWeightsHook(Hook):
    """Write rank0.pth, rank1.pth... in the folder that the process runs in."""

    def after_train(self, runner):
        torch.save(dict(runner.model.module.named_parameters()), f'rank{runner.rank}.pth')


def assert_same_weights(folder, processes=2):
    """All processes have trained to the same weights."""
    first, *others = (
        torch.load(Path(folder) / f'rank{rank}.pth', weights_only=True) for rank in range(processes)
    )
    for other in others:
        assert first.keys() == other.keys()
        for name, value in first.items():
            assert torch.equal(value, other[name]), name
