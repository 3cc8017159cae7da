import pytest
import torch
from torch import nn

from dn_mmdet import fuse_conv_dnb
from dn_mmdet.layers import DNB, DNC, DNGN
from dn_mmdet.layers.fuse import FusedConvDNB
from tests.helpers.layer_maps import randomize
from tests.helpers.torch_versions import needs_dynamic_export

FORMS = [
    dict(g=1, sc_input='raw'),
    dict(g=2),
    dict(g='oup', sc_input='raw', activation='ReLU6'),
    dict(g='oup', parameterization='conditioned', gain='bn', activation='ReLU'),
    dict(g=1, parameterization='conditioned', sc_input='raw', gain=3.0),
]


def network(*norms):
    """A pointwise, a strided and a depthwise convolution, each with a norm behind it."""
    torch.manual_seed(0)
    convs = (
        nn.Conv2d(3, 24, 1, bias=False),
        nn.Conv2d(24, 24, 3, stride=2, padding=1),
        nn.Conv2d(24, 24, 3, groups=24, padding='same', padding_mode='reflect'),
    )
    layers = [
        layer
        for conv, norm in zip(convs, norms)
        for layer in (conv, randomize(norm) if isinstance(norm, DNB) else norm)
    ]
    return nn.Sequential(*layers).eval().double()


def image(*shape):
    return torch.randn(*shape or (3, 3, 9, 7), dtype=torch.float64) * 3 + 1


@pytest.mark.parametrize('example', [False, True])
@pytest.mark.parametrize('form', FORMS, ids=str)
def test_output_stays(form, example):
    model, x = network(*(DNB(24, r=4, **form) for _ in range(3))), image()
    expected = model(x)
    assert fuse_conv_dnb(model, image() if example else None) == 3
    assert not any(isinstance(module, DNB) for module in model.modules())
    assert [module.per_sample for module in model[::2]] == [example, False, False]
    torch.testing.assert_close(model(x), expected)


def test_half_precision_and_autocast():
    model = network(DNB(24, r=4, g='oup'), DNB(24, r=4, g=2)).float()
    x = image().float()
    expected = model(x)
    fuse_conv_dnb(model, x)
    with torch.autocast('cpu', torch.bfloat16):
        assert (model(x) - expected).abs().max() < 0.05 * expected.abs().max()
    found = model.bfloat16()(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_what_is_not_alike_is_left_alone():
    class Scaled(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) * 2

    hooked = DNB(8)
    hooked.sc.register_forward_hook(lambda *_: None)
    model = nn.Sequential(
        nn.Sequential(Scaled(8, 8, 1), DNB(8)),
        nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), DNB(8)),
        nn.Sequential(nn.Conv2d(8, 8, 1), DNB(8, track_running_stats=False)),
        nn.Sequential(nn.Conv2d(8, 8, 1), DNC(8)),
        nn.Sequential(nn.Conv2d(8, 8, 1), DNGN(8, num_groups=2)),
        nn.Sequential(nn.Conv2d(8, 8, 1), hooked),
    ).eval()
    before = list(model.modules())
    assert fuse_conv_dnb(model) == 0
    assert list(model.modules()) == before


def test_an_example_tells_which_convolution_a_norm_follows():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
            self.norm1, self.norm2 = randomize(DNB(8)), randomize(DNB(8))

        def forward(self, x):
            return self.norm2(self.conv2(self.norm1(self.conv1(x))))

    block, x = Block().eval(), torch.randn(2, 8, 4, 4)
    expected = block(x)
    assert fuse_conv_dnb(block, x) == 0
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize('used', ['output', 'weight'])
def test_what_else_uses_a_convolution_is_noticed(used):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(8, 8, 1), randomize(DNB(8))
            self.conv2, self.norm2 = nn.Conv2d(8, 8, 1), randomize(DNB(8))

        def forward(self, x):
            y = self.conv(x)
            other = y if used == 'output' else self.conv.weight.sum()
            return self.norm2(self.conv2(self.norm(y) + other))

    block, x = Block().eval(), torch.randn(2, 8, 4, 4)
    modules, expected = list(block.modules()), block(x)
    with pytest.raises(ValueError, match='cannot be folded, and is as it was'):
        fuse_conv_dnb(block, x)
    assert list(block.modules()) == modules
    torch.testing.assert_close(block(x), expected)


def test_shared_layers_stay_shared():
    pair = network(DNB(24, r=4))
    model = nn.Sequential(pair, nn.Conv2d(24, 3, 1, dtype=torch.float64), pair).eval()
    x = image()
    expected = model(x)
    assert fuse_conv_dnb(model, x) == 1
    assert isinstance(model[2][0], FusedConvDNB) and model[0][0] is model[2][0]
    torch.testing.assert_close(model(x), expected)


def test_resnet():
    """Basic blocks and shortcuts, whose last norms are followed by nothing, or by a sum."""
    pytest.importorskip('mmcv')
    from dn_mmdet.backbones import ResNetDN

    torch.manual_seed(0)
    model = ResNetDN(18, norm_cfg=dict(type='DNB', r=4, g='oup')).eval()
    norms = [randomize(module.float()) for module in model.modules() if isinstance(module, DNB)]
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(x)
        assert fuse_conv_dnb(model, x) == len(norms) == 21
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('activation', ['ReLU', 'ReLU6', None])
def test_gradients_of_the_input(activation):
    model = network(*(DNB(24, r=4, activation=activation) for _ in range(3)))
    x = image().requires_grad_()
    (expected,) = torch.autograd.grad(model(x).square().sum(), x)
    fuse_conv_dnb(model, image())
    torch.testing.assert_close(torch.autograd.grad(model(x).square().sum(), x)[0], expected)


@needs_dynamic_export
@pytest.mark.parametrize('number', [1, 3])
def test_compile_and_export(number):
    model = network(DNB(24, r=4, g='oup'), DNB(24, r=4, g=2))
    fuse_conv_dnb(model, image())
    x = image(number, 3, 9, 7)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    dims = None if number == 1 else ({0: torch.export.Dim('batch', max=64)},)
    program = torch.export.export(model, (x,), dynamic_shapes=dims).module()
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))
        more = image(number if number == 1 else 5, 3, 9, 7)
        torch.testing.assert_close(program(more), model(more))


def test_bad_arguments():
    with pytest.raises(TypeError, match='got int'):
        fuse_conv_dnb(3)
    with pytest.raises(ValueError, match='eval'):
        fuse_conv_dnb(nn.Sequential(DNB(8)))
