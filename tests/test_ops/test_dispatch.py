import pytest
import torch

from dn_mmdet.ops import choose_path, use_path
from dn_mmdet.ops.backends import cpp

X = torch.zeros(2, 3, 4, 4)
FUSED = 'aten' if cpp.why_absent() else 'cpp'


@pytest.mark.parametrize(
    ('x', 'path'),
    [
        (X, FUSED),
        (torch.nn.Parameter(X), FUSED),
        (X.double(), 'reference'),
        (X.bfloat16(), FUSED),
        (X.half(), FUSED),
        (X.int(), 'reference'),
        (X[:0], 'reference'),
        (X.to('meta'), 'reference'),
    ],
)
def test_auto(x, path):
    with use_path('auto'):
        assert choose_path(x) == path


def test_variable_and_override(monkeypatch):
    monkeypatch.setenv('DN_MMDET_OPS', 'reference')
    assert choose_path(X) == 'reference'
    with use_path('aten'):
        assert choose_path(X.double()) == 'aten'
        with use_path('reference'):
            assert choose_path(X) == 'reference'
        assert choose_path(X) == 'aten'
    assert choose_path(X) == 'reference'


def test_override_ends_with_an_error():
    before = choose_path(X)
    with pytest.raises(KeyError), use_path('reference'):
        raise KeyError
    assert choose_path(X) == before


def test_unknown_names(monkeypatch):
    with pytest.raises(ValueError, match="one of auto, reference, aten, cpp, triton, got 'fast'"):
        use_path('fast').__enter__()
    monkeypatch.setenv('DN_MMDET_OPS', 'cuda')
    with pytest.raises(ValueError, match="DN_MMDET_OPS must be one of .* got 'cuda'"):
        choose_path(X)


def test_transforms_take_the_reference():
    seen = []

    def record(x):
        seen.append(choose_path(x))
        return x.sum()

    with use_path('aten'):
        torch.func.grad(record)(X)
        torch.func.jvp(record, (X,), (X,))
        torch.jit.trace(record, (X,), check_trace=False)
        torch.export.export(_Recorder(record), (X,))
        torch.compile(record, backend='eager')(X)
    assert set(seen) == {'reference'}


class _Recorder(torch.nn.Module):
    def __init__(self, record):
        super().__init__()
        self.record = record

    def forward(self, x):
        return self.record(x) + x
