import copy

import pytest
import torch
from torch import fx, nn
from torch.autograd import forward_ad

from dn_mmdet.layers import DNB, DNC, DNGN, DNIN, SEBN
from tests.helpers.layer_maps import random_maps, randomize
from tests.helpers.torch_versions import needs_dynamic_export

LAYERS = [
    DNB(24, r=4, sc_input='raw'),
    DNB(24, r=4, g='oup'),
    DNB(24, r=4, g=2, parameterization='conditioned', gain='bn'),
    DNC(24, r=4),
    DNC(24, r=4, fuse='fc2', parameterization='conditioned', gain='bn'),
    DNB(24, r=4, sync=True),
    SEBN(24, r=4),
    DNGN(24, num_groups=8, r=4, activation='ReLU6'),
    DNIN(24, r=4, parameterization='conditioned', gain='bn'),
]
SHAPE = (4, 24, 5, 7)


@pytest.fixture(params=LAYERS, ids=repr)
def layer(request):
    return randomize(copy.deepcopy(request.param)).eval()


@pytest.mark.filterwarnings('error::torch.jit.TracerWarning')
def test_jit_trace(layer):
    traced = torch.jit.trace(layer, random_maps(SHAPE), check_trace=False)
    other = random_maps((2, 24, 9, 8), seed=5)
    torch.testing.assert_close(traced(other), layer(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('form', [{}, {'parameterization': 'conditioned', 'gain': 'bn'}], ids=str)
@pytest.mark.parametrize('g', [1, 2, 'oup'])
def test_mmengine_counts_both_layers(g, form):
    analysis = pytest.importorskip('mmengine.analysis')
    layer, x = DNB(96, g=g, **form).eval(), torch.zeros(1, 96, 8, 8)
    flops = analysis.FlopAnalyzer(layer, x).unsupported_ops_warnings(False).by_operator()
    madds = layer.sc.fc1_weight.numel() + layer.sc.fc2_weight.numel()
    assert sum(flops[name] for name in ('linear', 'addmm', 'conv')) == madds


@needs_dynamic_export
def test_export(layer):
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(layer, (random_maps(SHAPE),), dynamic_shapes=({0: batch},))
    other = random_maps((2, *SHAPE[1:]), seed=5)
    torch.testing.assert_close(program.module()(other), layer(other), rtol=1e-5, atol=1e-5)


def test_compile_without_graph_break(layer):
    x = random_maps(SHAPE).requires_grad_()
    compiled = torch.compile(layer, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x), rtol=1e-5, atol=1e-5)


def test_symbolic_trace(layer):
    x = random_maps(SHAPE)
    torch.testing.assert_close(fx.symbolic_trace(layer)(x), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('norm', LAYERS[:4], ids=repr)
def test_efficient_conv_bn_eval_keeps_the_output(norm):
    module = pytest.importorskip('mmengine.model.efficient_conv_bn_eval')
    network = nn.Sequential(nn.Conv2d(3, 24, 3), randomize(copy.deepcopy(norm)), nn.ReLU()).eval()
    x = random_maps((2, 3, 8, 8))
    expected = network(x)
    module.turn_on_efficient_conv_bn_eval_for_single_model(network)
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def test_function_transform():
    layer = randomize(DNB(24, r=4)).eval()
    x = random_maps(SHAPE)
    given = x.clone().requires_grad_()
    layer(given).square().sum().backward()
    grad = torch.func.grad(lambda x: layer(x).square().sum())(x)
    torch.testing.assert_close(grad, given.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('functional', [True, False])
def test_forward_mode_derivative(functional):
    layer = randomize(DNB(24, r=4)).eval()
    x, dx, dy = (random_maps(SHAPE, seed=seed) for seed in range(3))
    if functional:
        _, forward = torch.func.jvp(layer, (x,), (dx,))
    else:
        with forward_ad.dual_level():
            forward = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, dx))).tangent
    given = x.clone().requires_grad_()
    layer(given).backward(dy)
    assert (forward * dy).sum().item() == pytest.approx((given.grad * dx).sum().item(), rel=1e-3)
