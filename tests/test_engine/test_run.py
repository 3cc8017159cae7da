"""What a run sets for its process."""

import pytest
import torch

from dn_mmdet.engine.run import prepare_process


@pytest.mark.skipif(torch.cuda.is_available(), reason='denormals are a matter of CPU runs')
def test_denormals_count_as_zero_on_cpu():
    small = torch.tensor([1e-40])
    assert (small * 0.5).any()
    prepare_process()
    assert not (small * 0.5).any()
