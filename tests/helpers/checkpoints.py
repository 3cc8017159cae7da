"""Checkpoints as a run writes them."""

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


def save(path, state, **more):
    """A checkpoint with all that mmengine puts into one."""
    losses = HistoryBuffer()
    losses.update(1.5)
    hub = dict(
        log_scalars={'train/loss': losses},
        runtime_info={'best_score': np.float64(0.5)},
        resumed_keys={},
    )
    torch.save(
        dict(
            state_dict=state,
            meta=dict(epoch=1, iter=2),
            message_hub=hub,
            optimizer={},
            param_schedulers=[],
        )
        | more,
        path,
    )
