"""ReLUs that DN-B applies itself, in models written by hand: the same bits, nothing else moved."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dn_mmdet.layers import (
    DNB,
    convert_batchnorm,
    fold_activations,
    fuse_conv_dnb,
    revert_to_batchnorm,
)
from dn_mmdet.layers.activated import FoldedReLU, FoldedReLU6
from dn_mmdet.layers.norm_act import NormAct
from dn_mmdet.ops import use_path
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.layer_maps import random_maps, randomize

C = 4


def norm():
    return DNB(C, r=2, g='oup')


def conv():
    return nn.Conv2d(C, C, 3, padding=1)


class Block(nn.Module):
    """As torchvision's and mmdet's: one ReLU, behind a norm and behind the sum."""

    def __init__(self, with_cp=False):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.bn2 = conv(), norm(), conv(), norm()
        self.relu = nn.ReLU(inplace=True)
        self.with_cp = with_cp

    def forward(self, x):
        def inner(x):
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            out += x
            return out

        out = checkpoint(inner, x, use_reentrant=False) if self.with_cp and x.requires_grad else 0
        out = out if self.with_cp and x.requires_grad else inner(x)
        return self.relu(out)


class Alone(nn.Module):
    """conv, bn and act, with a forward of the test's."""

    def __init__(self, forward, act=None, **others):
        super().__init__()
        self.conv, self.bn, self.act = conv(), norm(), act or nn.ReLU()
        self.run = forward
        for name, value in others.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.run(self, self.conv(x))


class Optional(nn.Module):
    """A block whose arguments may be left out."""

    def __init__(self, both):
        super().__init__()
        self.bn, self.act, self.both = norm(), nn.ReLU(), both

    def forward(self, x, other=None):
        y = self.bn(x)
        if other is None or self.both:
            return self.act(y)
        return self.act(y) + y


class TimmBlock(nn.Module):
    """As timm's: an Identity in between, and an activation for each place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.drop, self.act1 = conv(), norm(), nn.Identity(), nn.ReLU()
        self.conv2, self.bn2, self.act2 = conv(), norm(), nn.ReLU()

    def forward(self, x):
        y = self.act1(self.drop(self.bn1(self.conv1(x))))
        return self.act2(self.bn2(self.conv2(y)) + x)


class Untraceable(nn.Module):
    """Its own norm is out of sight; what it runs as a whole is not."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.act = conv(), norm(), nn.ReLU()
        self.list = nn.ModuleList([norm()])
        self.whole = nn.Sequential(conv(), norm(), self.act)

    def forward(self, x):
        x = self.act(self.bn(self.conv(x)))
        if x.sum() > -1:
            x = self.act(self.list[0](x))
        return self.whole(x)


class SameNormTwice(nn.Module):
    def __init__(self, second):
        super().__init__()
        self.bn, self.act, self.second = norm(), nn.ReLU(), second

    def forward(self, x):
        return self.second(self.bn(self.act(self.bn(x))))


def trained(model):
    """As after some training."""
    randomize(model)
    generator = torch.Generator().manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, DNB):
            layer.lambda_offset.copy_(torch.randn(C, generator=generator))
    return model


def step(model, training=True, size=6):
    model.train(training).zero_grad()
    x = random_maps((3, C, size, size)).requires_grad_()
    y = model(x)
    y.square().sum().backward()
    return [y, x.grad, *(p.grad for p in model.parameters()), *model.buffers()]


def assert_same_bits(found, expected):
    for a, b in zip_strict(found, expected):
        assert a is b is None or torch.equal(a, b)


def folded(model):
    return [name for name, m in model.named_modules() if isinstance(m, DNB) and m.activation]


def in_place(self, y):
    y = self.bn(y)
    return self.act(y), y


CASES = {
    'sequential': (lambda: nn.Sequential(conv(), norm(), nn.ReLU6(inplace=True)), ['1']),
    'nested': (
        lambda: nn.Sequential(nn.Sequential(conv(), norm(), nn.ReLU()), nn.Sequential(conv())),
        ['0.1'],
    ),
    # torchvision's InvertedResidual ends in a norm with nothing behind it.
    'two in a row': (
        lambda: nn.Sequential(norm(), nn.ReLU6(), conv(), norm(), nn.ReLU6(), conv(), norm()),
        ['0', '3'],
    ),
    'resnet': (lambda: nn.Sequential(Block(), Block()), ['0.bn1', '1.bn1']),
    'checkpointed': (lambda: nn.Sequential(conv(), Block(with_cp=True)), ['1.bn1']),
    'timm': (TimmBlock, ['bn1']),
    'norm and activation': (lambda: nn.Sequential(NormAct(norm(), act=nn.ReLU6())), ['0.norm']),
    'norm at the end of a block': (
        lambda: nn.Sequential(nn.Sequential(conv(), norm()), nn.ReLU()),
        ['0.1'],
    ),
    'untraceable': (Untraceable, ['whole.1']),
    'norm twice': (lambda: SameNormTwice(nn.ReLU()), ['bn']),
    'both ways': (lambda: Optional(both=True), ['bn']),
}


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('case', CASES)
def test_the_same_bits(case, training):
    make, expected = CASES[case]
    torch.manual_seed(0)
    model = trained(make())
    other = copy.deepcopy(model)
    assert fold_activations(other) == len(expected) and folded(other) == expected
    assert list(other.state_dict()) == list(model.state_dict())
    assert [n for n, _ in other.named_modules()] == [n for n, _ in model.named_modules()]
    assert fold_activations(other) == 0
    copies = [other, copy.deepcopy(other), pickle.loads(pickle.dumps(other))]
    with use_path('reference'):
        step_of_model = step(model, training)
        for each in copies:
            assert_same_bits(step(each, training), step_of_model)
    with torch.no_grad():
        x = random_maps((2, C, 5, 5))
        y = other.eval()(x)
        torch.testing.assert_close(y, model.eval()(x), rtol=1e-5, atol=1e-5)
        with torch.inference_mode():
            assert torch.equal(other(x), y)


def test_no_pass_is_run_twice(monkeypatch):
    """The shared ReLU works behind the sum alone, where the norm could not."""
    model, seen = trained(nn.Sequential(Block(), nn.Sequential(norm(), nn.ReLU6()))), []
    fold_activations(model)
    for name in ('relu', 'relu6', 'hardtanh'):
        plain = getattr(F, name)
        monkeypatch.setattr(
            F,
            name,
            lambda *args, plain=plain, **k: seen.append(plain.__name__) or plain(*args, **k),
        )
    x = random_maps((2, C, 5, 5))
    with use_path('aten'):
        for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
            with mode():
                model(x)
            assert seen == ['relu'], mode
            seen.clear()


LEFT = {
    'another user': Alone(lambda self, y: [self.act(z) + z for z in [self.bn(y)]][0]),
    'in place, and used': Alone(lambda self, y: sum(in_place(self, y)), act=nn.ReLU(inplace=True)),
    'its size is asked': Alone(lambda self, y: [self.act(z) * z.shape[0] for z in [self.bn(y)]][0]),
    'kept on the module': Alone(
        lambda self, y: [setattr(self, 'kept', self.bn(y)), self.act(self.kept)][1]
    ),
    'kept in a list': Alone(
        lambda self, y: [self.kept.append(self.bn(y)), self.act(self.kept[-1])][1], kept=[]
    ),
    'returned too': nn.Sequential(conv(), norm()),
    'functional': Alone(lambda self, y: F.relu(self.bn(y)).relu()),
    'another activation': nn.Sequential(norm(), nn.LeakyReLU()),
    'another bound': nn.Sequential(norm(), nn.Hardtanh(0, 5)),
    'dropout between': nn.Sequential(norm(), nn.Dropout2d(), nn.ReLU()),
    'in training alone': Alone(
        lambda self, y: self.act(self.bn(y)) if self.training else self.act(-self.bn(y))
    ),
    'an argument decides': nn.ModuleList([Optional(both=False)]),
    'the norm goes two ways': SameNormTwice(nn.Identity()),
    'two kinds of activation': SameNormTwice(nn.ReLU6()),
    'a list has no forward': nn.ModuleList([norm(), nn.ReLU()]),
    'picked out of a Sequential': Alone(
        lambda self, y: [self.parts[1](z) + z for z in [self.parts[0](y)]][0],
        parts=nn.Sequential(norm(), nn.ReLU()),
    ),
    'picked where no trace comes through': Alone(
        lambda self, y: [self.parts[1](z) if z.sum() > 0 else z for z in [self.parts[0](y)]][0],
        parts=nn.Sequential(norm(), nn.ReLU()),
    ),
}


@pytest.mark.parametrize('case', LEFT)
def test_where_it_is_not_sure(case):
    model = copy.deepcopy(LEFT[case])
    state, modes = vars(model).copy(), [m.training for m in model.modules()]
    text = str(model)
    assert fold_activations(model) == 0 and str(model) == text
    assert vars(model) == state and [m.training for m in model.modules()] == modes


@pytest.mark.parametrize('place', ['0', '1'])
@pytest.mark.parametrize(
    'kind', ['forward_hook', 'forward_pre_hook', 'full_backward_hook', 'full_backward_pre_hook']
)
def test_hooks_see_what_they_saw(place, kind):
    model = nn.Sequential(norm(), nn.ReLU())
    getattr(model.get_submodule(place), f'register_{kind}')(lambda *_: None)
    assert fold_activations(model) == 0 and type(model[1]) is nn.ReLU


def test_hooks_on_a_block_are_not_called_and_see_the_same():
    model, seen = trained(nn.Sequential(Block())), []
    model[0].register_forward_hook(lambda _, __, y: seen.append(y.detach().clone()))
    x = random_maps((2, C, 5, 5))
    with use_path('reference'):
        model.eval()(x)
        assert fold_activations(model) == 1 and len(seen) == 1
        model(x)
    assert torch.equal(*seen)


def test_a_forward_of_the_objects_own_is_not_seen_through():
    model = Block()
    model.forward = lambda x: model.relu(model.bn1(x)) + model.bn1(x)
    assert fold_activations(model) == 0
    layers = nn.Sequential(norm(), nn.ReLU())
    layers[1].forward = torch.neg
    assert fold_activations(layers) == 0


def test_a_mark_ends_with_a_change_in_place():
    """What a folded ReLU gets is its own output, or else it computes ReLU."""
    layer, act = norm(), nn.ReLU()
    fold_activations(nn.Sequential(layer, act))
    x = random_maps((2, C, 5, 5))
    assert type(act) is FoldedReLU
    y = layer(x)
    assert act(y) is y
    # The mark is gone: the same object may come back as another map.
    with torch.inference_mode():
        y = layer(x)
        assert act(y) is y and act(y.sub_(1)).min() == 0
    assert act(layer(x).sub_(1)).min() == 0
    assert act(layer(x) - 1).min() == 0
    assert FoldedReLU6()(layer(x) * 0 + 7).max() == 6 and FoldedReLU6()(layer(x)).max() <= 6
    layer.activation = None
    assert act(layer(x)).min() == 0


def test_back_to_batchnorm():
    """What is left behind serves the norms that are still DN-B, and is plain at the end."""
    torch.manual_seed(0)
    model = trained(nn.Sequential(Block(), nn.Sequential(conv(), norm(), nn.ReLU6(inplace=True))))
    for layer in model.modules():
        if isinstance(layer, DNB):
            nn.init.zeros_(layer.sc.fc2_weight)
    x = random_maps((2, C, 5, 5))
    expected, text = model.eval()(x), str(revert_to_batchnorm(copy.deepcopy(model)).model)
    assert fold_activations(model) == 2
    half = revert_to_batchnorm(copy.deepcopy(model), where='0').model
    assert type(half[0].bn1) is nn.BatchNorm2d and type(half[0].relu) is FoldedReLU
    whole = revert_to_batchnorm(copy.deepcopy(half)).model
    assert str(whole) == text and type(whole[0].relu) is nn.ReLU
    # The other way: what was BatchNorm when its neighbors were folded.
    again = convert_batchnorm(copy.deepcopy(half), r=2)
    assert fold_activations(again) == 1 and folded(again) == ['0.bn1', '1.1']
    for each in (half, whole, again):
        torch.testing.assert_close(each(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('example', [True, False])
def test_into_the_convolution_in_front(example):
    model = trained(nn.Sequential(nn.Conv2d(C, C, 1), norm(), nn.ReLU6(), Block())).eval()
    x = random_maps((2, C, 5, 5))
    expected = model(x)
    fold_activations(model)
    assert fuse_conv_dnb(model, x if example else None) == 3
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
        y = model[0](x)
        assert model[2](model[1](y)) is y


def relus(graph):
    return sum('relu' in str(node) for node in graph.nodes())


def test_in_graphs():
    """Compiled, exported, traced: the same, and a trace has no ReLU twice."""
    model = trained(nn.Sequential(Block(), nn.Sequential(norm(), nn.ReLU()))).eval()
    x = random_maps((2, C, 5, 5))
    expected = model(x)
    plain = torch.jit.trace(model, x)
    fold_activations(model)
    traced = torch.jit.trace(model, x)
    counts = [relus(torch.jit.freeze(each).graph) for each in (plain, traced)]
    assert counts == [3, 3]
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    for each in (traced, compiled, torch.export.export(model, (x,)).module()):
        with torch.no_grad():
            torch.testing.assert_close(each(x), expected, rtol=1e-5, atol=1e-5)
    x.requires_grad_()
    gradients = [torch.autograd.grad(each(x).sum(), x)[0] for each in (model, compiled)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_symbolic_trace_of_a_folded_activation():
    graph = torch.fx.symbolic_trace(nn.Sequential(conv(), FoldedReLU())).graph
    assert [node.target for node in graph.nodes if node.op == 'call_function'] == [F.relu]


def test_no_module():
    with pytest.raises(TypeError, match='model must be a torch.nn.Module, got str'):
        fold_activations('resnet18')


def assert_folded(model, folded):
    torch.manual_seed(0)
    model = randomize(convert_batchnorm(model))
    other = copy.deepcopy(model)
    assert fold_activations(other) == folded
    assert list(other.state_dict()) == list(model.state_dict())
    x = random_maps((2, 3, 32, 32))
    with use_path('reference'):
        results = []
        for each in (model, other):
            torch.manual_seed(0)  # Of dropouts.
            each.train().zero_grad()
            y = each(x)
            y.sum().backward()
            results.append([y, *(p.grad for p in each.parameters())])
    assert_same_bits(*results)


@pytest.mark.parametrize(('name', 'folded'), [('mobilenet_v2', 35), ('resnet18', 9)])
def test_models_of_torchvision(name, folded):
    torchvision = pytest.importorskip('torchvision')
    assert_folded(getattr(torchvision.models, name)(num_classes=3), folded)


def test_a_model_of_timm():
    timm = pytest.importorskip('timm')
    assert_folded(timm.create_model('resnet18', num_classes=3), 9)


def test_a_norm_that_modules_of_mmcv_share():
    """It applies what all of them apply, or nothing."""
    cnn = pytest.importorskip('mmcv.cnn')
    norm_cfg = dict(type='BN')
    for act, expected in (('ReLU6', 1), ('ReLU', 0), (None, 0)):
        one = cnn.ConvModule(C, C, 1, norm_cfg=norm_cfg, act_cfg=dict(type='ReLU6'))
        other = cnn.ConvModule(C, C, 1, norm_cfg=norm_cfg, act_cfg=act and dict(type=act))
        one.bn = other.bn = norm()
        model = trained(nn.Sequential(one, other)).eval()
        x = random_maps((2, C, 5, 5))
        expected_output = model(x)
        assert fold_activations(model) == expected
        assert one.with_activation == (not expected)
        torch.testing.assert_close(model(x), expected_output, rtol=1e-5, atol=1e-5)
