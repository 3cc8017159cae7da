"""Mixed precision on CPU."""

import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper


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
