"""The layer inside of what torch does with models."""

import copy
import io
import pickle

import pytest
import torch
import torch._dynamo.testing
from torch import nn
from torch._inductor.utils import run_and_get_code
from torch.utils.checkpoint import checkpoint

from dn_mmdet.layers import DNB
from dn_mmdet.ops import choose_path, recompute_outputs, use_path
from dn_mmdet.ops.backends import cpp
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.layer_maps import random_maps, randomize
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.processes import run_together
from tests.helpers.tolerances import assert_near
from tests.helpers.torch_versions import VERSION, needs_dynamic_export, needs_torch

SHAPE = (4, 8, 9, 7)
FUSED = ['aten', pytest.param('cpp', marks=NEEDS_LIBRARY)]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
TOLERANCE = {'rtol': 1e-4, 'atol': 1e-5}


def layer(**kwargs):
    return randomize(DNB(8, r=2, **kwargs))


def network():
    """Convolutions, norms with and without their activation, and a sum."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, bias=False)
            self.norm = layer(sc_input='raw', activation='ReLU6')
            self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1, bias=False)
            self.other = layer()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            x = self.norm(self.conv(x))
            return self.act(self.other(self.depthwise(x))) + x

    torch.manual_seed(0)
    return Network()


def image(batch=3, layout=torch.contiguous_format, seed=1):
    return random_maps((batch, 3, 10, 11), channels_last=layout == torch.channels_last, seed=seed)


def step(model, x, run=None):
    """Output, gradients and buffers of one forward and backward."""
    x = x.detach().requires_grad_()
    model.zero_grad()
    y = model(x) if run is None else run(x)
    y.float().square().sum().backward()
    return [y.detach(), x.grad, *(p.grad.clone() for p in model.parameters()),
            *(b.detach().clone() for b in model.buffers())]  # fmt: skip


def assert_alike(found, expected):
    for a, b in zip_strict(found, expected):
        assert_near(a, b, torch.float32)


@pytest.fixture(autouse=True)
def forget_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(('backend', 'make', 'training'), [
    ('eager', layer, True),
    ('eager', layer, False),
    ('aot_eager', network, True),
    ('eager', network, False),
])  # fmt: skip
def test_compile_once_for_every_batch_size(backend, make, training):
    eager, compiled = (make().train(training) for _ in range(2))
    counter = torch._dynamo.testing.CompileCounterWithBackend(backend)
    run = torch.compile(compiled, backend=counter, fullgraph=True, dynamic=True)
    counts = []
    # No other size is 5: equal sizes are taken for one.
    for batch in (5, 6):
        x = image(batch) if make is network else random_maps((batch, *SHAPE[1:]))
        assert_alike(step(compiled, x, run), step(eager, x))
        counts.append(counter.frame_count)
    assert counts[0] > 0 and counts[1] == counts[0]


@pytest.mark.parametrize('training', [True, False])
def test_compile_with_inductor(training):
    eager, compiled = (network().train(training) for _ in range(2))
    run = torch.compile(compiled, fullgraph=True)
    assert_alike(step(compiled, image(), run), step(eager, image()))


@needs_torch((2, 7), 'has other graphs')
@NEEDS_LIBRARY
@pytest.mark.parametrize(('use', 'in_place'), [
    (lambda conv, norm, x: norm(conv(x)), 1),
    (lambda conv, norm, x: norm(norm(conv(x))), 1),
    (lambda conv, norm, x: norm(y := conv(x)) + y, 0),
    (lambda conv, norm, x: (norm(y := conv(x)), y.flatten()), 0),
    (lambda conv, norm, x: norm(conv(x)[:, :, 1:]), 0),
    (lambda conv, norm, x: norm(torch.cat([x] * 3, dim=1)[:, :8]), 0),
])  # fmt: skip
def test_compiled_evaluation_writes_into_convolutions(use, in_place):
    """Into maps that nobody else reads, and into no other."""
    conv, norm = nn.Conv2d(3, 8, 3, bias=False), layer(activation='ReLU6').eval()
    x = image()
    with torch.no_grad(), torch._inductor.config.patch(fx_graph_cache=False):
        expected = use(conv, norm, image())
        run = torch.compile(lambda x: use(conv, norm, x), fullgraph=True)
        found, code = run_and_get_code(run, x)
    assert_alike(found, expected) if isinstance(found, tuple) else assert_alike([found], [expected])
    assert torch.equal(x, image())
    assert sum(text.count('dn_mmdet.evaluate_.default(') for text in code) == in_place


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    ('part', 'dtype'), [('', torch.bfloat16), ('sc', torch.float64), ('bn', torch.bfloat16)]
)
def test_compile_of_another_precision(part, dtype, training):
    if training and dtype == torch.bfloat16 and (VERSION < (2, 7) or cpp.why_absent()):
        pytest.skip('what torch records without the C++ operators rounds the map to bfloat16')
    eager, compiled = layer().train(training), layer().train(training)
    for each in (eager, compiled):
        each.get_submodule(part).to(dtype)
    run = torch.compile(compiled, backend='aot_eager', fullgraph=True)
    x = random_maps(SHAPE, torch.float32 if part else dtype)
    for found, expected in zip_strict(step(compiled, x, run), step(eager, x)):
        assert_near(found, expected, torch.bfloat16)
    with torch.no_grad():
        assert_near(run(x), eager(x), torch.bfloat16)


def test_compile_of_a_batch_without_samples():
    eager, compiled = layer(), layer()
    run = torch.compile(compiled, backend='eager', fullgraph=True)
    x = random_maps(SHAPE)[:0]
    for each, call in ((eager, eager), (compiled, run)):
        assert call(x).shape == x.shape
        assert each.bn.running_var.isfinite().all()
    assert torch.equal(compiled.bn.running_mean, eager.bn.running_mean)


@pytest.mark.parametrize('x', [random_maps(SHAPE)[0], random_maps(SHAPE)[:, :7]], ids=['3D', 'C'])
def test_compiled_layers_refuse_what_others_do(x):
    run = torch.compile(layer(), backend='eager')
    with pytest.raises(ValueError, match='expected (4D input|input with num_features=8)'):
        run(x)


def test_compile_inside_of_recomputed_outputs():
    eager, compiled = network(), network()
    run = torch.compile(compiled, backend='aot_eager', fullgraph=True)
    with recompute_outputs():
        found = step(compiled, image(), run)
    assert_alike(found, step(eager, image()))


@needs_dynamic_export
@pytest.mark.parametrize(
    ('make', 'strict', 'training'),  # every pair
    [(layer, True, True), (layer, False, False), (network, True, False), (network, False, True)],
)
def test_export_runs_at_another_batch_size(make, strict, training):
    model = make().train(training)
    maps = (
        image
        if make is network
        else lambda batch, seed: random_maps((batch, *SHAPE[1:]), seed=seed)
    )
    batch = torch.export.Dim('batch', min=2, max=64)
    program = torch.export.export(
        model, (maps(3, seed=1),), dynamic_shapes=({0: batch},), strict=strict
    )
    exported = program.module()
    for size in (2, 5):
        x = maps(size, seed=size)
        torch.testing.assert_close(exported(x), model(x), **TOLERANCE)
    running = {name: value for name, value in exported.state_dict().items() if 'running' in name}
    assert running
    for name, value in running.items():
        torch.testing.assert_close(value, model.state_dict()[name], **TOLERANCE)


@pytest.mark.parametrize('recompute', [False, True])
@pytest.mark.parametrize('use_reentrant', [True, False])
@pytest.mark.parametrize('path', FUSED)
def test_gradient_checkpointing(path, use_reentrant, recompute):
    model, other = network(), network()
    # Statistics are updated once more by the second forward.
    for norm in (model.norm, model.other, other.norm, other.other):
        norm.bn.momentum = 0.0

    def run(x):
        if recompute:
            with recompute_outputs():
                return checkpoint(other, x, use_reentrant=use_reentrant)
        return checkpoint(other, x, use_reentrant=use_reentrant)

    with use_path(path):
        expected, found = step(model, image()), step(other, image(), run)
    for a, b in zip_strict(expected, found):
        assert a.dtype == torch.int64 or torch.equal(a, b)


@pytest.mark.parametrize('path', FUSED)
def test_copies_and_pickles(path):
    model = network()
    with use_path(path):
        step(model, image())
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(layer(activation='ReLU')))]
        assert copies[1].activation == 'ReLU'
        file = io.BytesIO()
        torch.save(model.norm, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
        x = random_maps(SHAPE)
        assert torch.equal(other(x), model.norm(x))
        found, expected = step(copies[0], image()), step(copies[0], image())
        assert torch.equal(found[0], expected[0])


@pytest.mark.parametrize('activation', [None, 'ReLU6'])
@pytest.mark.parametrize('path', FUSED)
def test_functional_call(path, activation):
    norm, x = layer(activation=activation).eval(), random_maps(SHAPE)
    other = {name: value.detach() * 0.5 for name, value in norm.named_parameters()}
    with use_path(path):
        y = torch.func.functional_call(norm, other, (x,))
        expected = copy.deepcopy(norm)
        expected.load_state_dict(other, strict=False)
        assert torch.equal(y, expected(x)) and not torch.equal(y, norm(x))


@pytest.mark.parametrize('activation', [None, 'ReLU6'])
@pytest.mark.parametrize('path', FUSED)
def test_function_transforms_take_the_reference(path, activation):
    norm, x = layer(activation=activation).eval(), random_maps(SHAPE)
    parameters = {name: value.detach() for name, value in norm.named_parameters()}
    seen = []

    def loss(parameters, x):
        seen.append(choose_path(x))
        return torch.func.functional_call(norm, parameters, (x,)).square().sum()

    with use_path(path):
        grads = torch.func.grad(loss)(parameters, x)
        norm.zero_grad()
        norm(x).square().sum().backward()
        for name, value in norm.named_parameters():
            torch.testing.assert_close(grads[name], value.grad, rtol=1e-4, atol=1e-4)
        per_sample = torch.func.vmap(lambda x: norm(x[None])[0])(x)
        torch.testing.assert_close(per_sample, norm(x), rtol=1e-5, atol=1e-5)
        grads_per_sample = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x[:, None])
        for name, value in grads_per_sample.items():
            torch.testing.assert_close(value.sum(0), grads[name], rtol=1e-4, atol=1e-4)
    assert set(seen) == {'reference'}


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('path', FUSED)
def test_without_gradients(path, training):
    x = random_maps(SHAPE)
    with use_path(path):
        expected = layer().train(training)(x)
        for context in (torch.no_grad, torch.inference_mode,
                        lambda: torch.set_grad_enabled(False)):  # fmt: skip
            norm = layer().train(training)
            with context():
                y = norm(x)
            assert not y.requires_grad and y.is_inference() == (context is torch.inference_mode)
            torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
        with torch.no_grad(), torch.set_grad_enabled(True):
            assert layer()(x).requires_grad


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('path', FUSED)
def test_a_tensor_of_inference_serves_as_input_later(path, training):
    with torch.inference_mode():
        x = random_maps(SHAPE) * 1
    norm = layer().train(training).requires_grad_(False)
    with use_path(path):
        torch.testing.assert_close(
            norm(x), layer().train(training)(random_maps(SHAPE)), rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('path', FUSED)
def test_in_place_operations_behind(path, layout):
    x = random_maps(SHAPE, channels_last=layout == torch.channels_last).requires_grad_()
    with use_path(path):
        for change in (lambda y: y.add_(1), lambda y: y.relu_(), lambda y: y.mul_(2)):
            norm = layer()
            found = change(norm(x))
            expected = change(layer()(x) * 1)
            assert torch.equal(found, expected)
            grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected)]
            assert torch.equal(*grads)


@pytest.mark.parametrize('path', FUSED)
def test_an_input_changed_before_the_backward_is_refused(path):
    base = random_maps(SHAPE).requires_grad_()
    x = base * 1
    with use_path(path):
        y = layer()(x)
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        y.sum().backward()


@pytest.mark.parametrize('path', ['reference', *FUSED])
@pytest.mark.parametrize('training', [True, False])
def test_layouts_are_kept_through_a_network(path, training):
    model = network().train(training).to(memory_format=torch.channels_last)
    with use_path(path):
        y = model(image(layout=torch.channels_last).requires_grad_())
        y.sum().backward()
    assert y.is_contiguous(memory_format=torch.channels_last) and not y.is_contiguous()


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('path', FUSED)
def test_autocast_of_a_network(path, training):
    results = []
    for each in (path, 'reference'):
        model = network().train(training)
        with use_path(each), torch.autocast('cpu', dtype=torch.bfloat16):
            y = model(image())
            y.float().square().mean().backward()
        assert y.dtype == torch.bfloat16
        results.append([y, *(parameter.grad for parameter in model.parameters())])
    for found, expected in zip_strict(*results):
        assert found.dtype == expected.dtype
        assert (found - expected).norm() < 0.03 * expected.norm()


def distributed_step(rank):
    model, x = network(), image(batch=3, seed=rank + 1)
    alone = step(model, x)
    model = network()
    wrapped = nn.parallel.DistributedDataParallel(model)
    with recompute_outputs():
        loss = wrapped(x).square().sum()
    loss.backward()
    count = len(list(model.parameters()))
    return (
        alone[2 : 2 + count],
        [parameter.grad for parameter in model.parameters()],
        alone[2 + count :],
        [buffer.clone() for buffer in model.buffers()],
    )


def test_distributed_data_parallel():
    first, second = run_together(distributed_step)
    for mine, yours, averaged, same in zip_strict(first[0], second[0], first[1], second[1]):
        assert torch.equal(averaged, same)
        assert_near(averaged, (mine + yours) / 2, torch.float32)
    # Statistics are those of the process's own part of the batch, as BatchNorm's.
    for alone, buffers in ((result[2], result[3]) for result in (first, second)):
        assert all(torch.equal(*pair) for pair in zip_strict(alone, buffers))
