import pytest
import torch

from dn_mmdet.ops import dynamic_batch_norm, use_path
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.tolerances import assert_near

N, C, H, W = 3, 8, 4, 3
DTYPES = {'reference': torch.float64, 'aten': torch.float64, 'cpp': torch.float32}
FORMS = [('raw', (1.0, 1.0)), ('normalized', (1.0, 1.0)), ('normalized', (0.35, 1.75))]
FUSED = ['aten', pytest.param('cpp', marks=NEEDS_LIBRARY)]


def arguments(groups=2, dtype=torch.float64, training=True):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    hidden = 4
    trained = [draw(N, C, H, W), draw(hidden, C), draw(hidden), draw(2 * C, hidden // groups)]
    offsets = [draw(C) + 1, draw(C)]
    running = None if training else [draw(C), draw(C).exp()]
    return [tensor.requires_grad_() for tensor in trained + offsets], running


def run(path, tensors, running, sc_input='raw', detach_gap=False, scales=(1.0, 1.0)):
    x, *parameters = tensors
    with use_path(path):
        return dynamic_batch_norm(
            x,
            *(running or (None, None)),
            *parameters,
            training=running is None,
            sc_input=sc_input,
            detach_gap=detach_gap,
            fc1_scale=scales[0],
            fc2_scale=scales[1],
        )


CASES = pytest.mark.parametrize(
    ('groups', 'training', 'sc_input', 'detach_gap', 'scales'),
    [
        (groups, training, sc_input, detach_gap, scales)
        for groups in (1, 2, 4)
        for training in (True, False)
        for sc_input in ('raw', 'normalized')
        for detach_gap in (False, True)
        for scales in ((1.0, 1.0), (0.35, 1.75))
    ],
)


@CASES
@pytest.mark.parametrize('fused', FUSED)
def test_closed_form_equals_autograd(fused, groups, training, sc_input, detach_gap, scales):
    results = []
    for path in ('reference', fused):
        tensors, running = arguments(groups, DTYPES[path], training)
        y = run(path, tensors, running, sc_input, detach_gap, scales)
        weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y).cos()
        results.append([y, *torch.autograd.grad((y * weights).sum(), tensors)])
    for exact, actual in zip_strict(*results):
        assert_near(actual, exact, DTYPES[fused])


@pytest.mark.parametrize(
    ('path', 'training', 'form'),
    # Every pair; that the paths agree in every case is seen above.
    [
        (path, (path == 'reference') == (form != 1), form)
        for path in ('reference', 'aten')
        for form in range(len(FORMS))
    ],
)
def test_gradcheck(path, training, form):
    sc_input, scales = FORMS[form]
    tensors, running = arguments(training=training)
    assert torch.autograd.gradcheck(
        lambda *t: run(path, t, running, sc_input, scales=scales), tensors
    )


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('path', ['reference', *FUSED])
def test_a_factor_stands_for_larger_weights(path, training):
    tensors, running = arguments(dtype=DTYPES[path], training=training)
    scaled = [t.detach() * factor for t, factor in zip_strict(tensors, (1, 0.5, 1, 4, 1, 1))]
    with torch.no_grad():
        expected = run(path, scaled, running)
        assert_near(run(path, tensors, running, scales=(0.5, 4.0)), expected, DTYPES[path])


def test_reference_has_second_derivatives():
    tensors, running = arguments()
    assert torch.autograd.gradgradcheck(lambda *t: run('reference', t, running), tensors)


@pytest.mark.parametrize('path', FUSED)
def test_fused_paths_refuse_second_derivatives(path):
    tensors, running = arguments(dtype=DTYPES[path])
    y = run(path, tensors, running)
    (grad,) = torch.autograd.grad(y.square().sum(), tensors[:1], create_graph=True)
    with pytest.raises(RuntimeError, match='differentiated twice'):
        grad.sum().backward()


@pytest.mark.parametrize('path', ['reference', *FUSED])
def test_only_what_needs_it_gets_a_gradient(path):
    tensors, running = arguments(dtype=DTYPES[path])
    for frozen in tensors[1:]:
        frozen.requires_grad_(False)
    run(path, tensors, running).square().sum().backward()
    assert tensors[0].grad is not None and all(t.grad is None for t in tensors[1:])
    tensors, running = arguments(dtype=DTYPES[path])
    tensors[0].requires_grad_(False)
    run(path, tensors, running).square().sum().backward()
    assert tensors[0].grad is None and all(t.grad is not None for t in tensors[1:])


@pytest.mark.parametrize('path', FUSED)
def test_fused_paths_keep_the_input_and_little_else(path):
    tensors, running = arguments(dtype=torch.float32)
    kept = []

    def pack(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(path, tensors, running)
    assert sum(tensor.shape == tensors[0].shape for tensor in kept) == 1
    # Per plane the mean, scale and shift, per sample the units, per channel two statistics.
    numbers = sum(t.numel() for t in kept if all(t is not given for given in tensors))
    assert numbers <= 3 * N * C + N * 4 + 2 * C


@pytest.mark.parametrize('path', FUSED)
def test_frozen_statistics_may_change_before_the_backward(path):
    tensors, running = arguments(dtype=DTYPES[path], training=False)
    y = run(path, tensors, running)
    expected = torch.autograd.grad(y.sum(), tensors[:1], retain_graph=True)
    running[0].add_(1)
    running[1].add_(1)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), tensors[:1]), expected)


@pytest.mark.parametrize('path', ['reference', *FUSED])
def test_running_statistics_of_lower_precision(path):
    (x, *parameters), _ = arguments(dtype=torch.float32)
    exact = torch.zeros(C), torch.ones(C)
    half = tuple(buffer.bfloat16() for buffer in exact)
    with use_path(path):
        for running in (exact, half):
            dynamic_batch_norm(x, *running, *parameters, training=True, momentum=0.5)
    for buffer, expected in zip_strict(half, exact):
        torch.testing.assert_close(buffer.float(), expected, rtol=1e-2, atol=1e-2)
        assert not torch.equal(buffer, torch.ones_like(buffer)) and buffer.any()
