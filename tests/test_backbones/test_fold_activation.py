"""Activations folded into DN-B: the same model, with less kept."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.analysis import get_model_complexity_info
from torch import nn

import dn_mmdet  # noqa: F401
from dn_mmdet.backbones import MobileNetV2DN, fold_activations
from dn_mmdet.layers import DNB
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.torch_versions import needs_saved_tensors

DNB_CFG = dict(type='DNB', r=4, g='oup')


def module(norm_cfg=DNB_CFG, act_cfg=dict(type='ReLU6'), **kwargs):  # noqa: B006
    torch.manual_seed(0)
    built = ConvModule(3, 8, 3, norm_cfg=norm_cfg, act_cfg=act_cfg, **kwargs)
    return trained(built)


def trained(model):
    """As after some training: every number of the norms is in use."""
    generator = torch.Generator().manual_seed(1)
    for norm in model.modules():
        if isinstance(norm, DNB):
            for value in (norm.sc.fc2_weight.data, norm.lambda_offset):
                value.copy_(torch.randn(value.shape, generator=generator))
    return model


def backbone(**kwargs):
    torch.manual_seed(0)
    kwargs = (
        dict(widen_factor=0.1, norm_cfg=DNB_CFG, out_indices=(2, 5, 7), expansion_indices=(5,))
        | kwargs
    )
    return trained(MobileNetV2DN(**kwargs))


def step(model, size=64):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2)).requires_grad_()
    model.zero_grad()
    outs = model(x)
    sum(out.square().mean() for out in (outs if isinstance(outs, tuple) else [outs])).backward()
    outs = outs if isinstance(outs, tuple) else (outs,)
    return [*outs, x.grad, *(p.grad for p in model.parameters()), *model.buffers()]


def assert_alike(found, expected):
    for a, b in zip_strict(found, expected):
        scale = b.detach().double().abs().max().clamp(min=1)
        assert (a.detach().double() - b.detach().double()).abs().max() <= 2e-5 * scale


def kept(model):
    """Bytes that the graph of a forward holds, of each storage once, and not of parameters."""
    graph = [out.grad_fn for out in model(torch.randn(8, 3, 64, 64))]
    nodes, storages = set(), {}
    while graph:
        node = graph.pop()
        if node is None or node in nodes:
            continue
        nodes.add(node)
        graph += [following for following, _ in node.next_functions]
        for name in dir(node):
            saved = getattr(node, name) if name.startswith('_raw_saved_') else ()
            for each in saved if isinstance(saved, (list, tuple)) else [saved]:
                tensor = getattr(each.data, 'x', each.data)  # What an output is made anew from.
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    storages[storage.data_ptr()] = storage
    for parameter in model.parameters():
        storages.pop(parameter.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in storages.values())


@needs_saved_tensors
def test_less_is_kept():
    found = {fold: kept(backbone(fold_activation=fold)) for fold in (False, True, 'recompute')}
    assert found[True] <= found[False] * 1.005
    assert found['recompute'] < found[False] * 0.6


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('fold', [True, 'recompute'])
def test_a_folded_backbone_computes_the_same(fold, training):
    plain = backbone(fold_activation=False).train(training)
    folded = backbone(fold_activation=fold).train(training)
    assert list(plain.state_dict()) == list(folded.state_dict())
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in folded.named_parameters()]
    folded.load_state_dict(plain.state_dict())
    assert_alike(step(folded), step(plain))
    with torch.no_grad():
        x = torch.randn(1, 3, 64, 64)
        assert_alike(folded.eval()(x), plain.eval()(x))


def test_recomputed_outputs_give_the_same_bits():
    results = [step(backbone(fold_activation=fold)) for fold in (True, 'recompute')]
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


def test_every_activation_of_the_backbone_is_folded():
    folded = [m.activation for m in backbone().modules() if isinstance(m, DNB)]
    # The stem, 17 depthwise and 16 expanding convolutions, and the last one.
    assert len(folded) == 52 and folded.count('ReLU6') == 35 and folded.count(None) == 17
    plain = backbone(fold_activation=False)
    assert not any(m.activation for m in plain.modules() if isinstance(m, DNB))
    assert fold_activations(plain) == 35 and fold_activations(plain) == 0


@pytest.mark.parametrize(
    'norm_cfg',
    [dict(type='BN'), dict(type='DNC'), dict(type='SEBN'), dict(type='GN', num_groups=1)],
    ids=lambda n: n['type'],
)
def test_other_norms_are_left_alone(norm_cfg):
    models = [backbone(norm_cfg=norm_cfg, fold_activation=fold) for fold in (False, 'recompute')]
    assert str(models[0]) == str(models[1]) and fold_activations(models[0]) == 0
    results = [step(model) for model in models]
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


@pytest.mark.parametrize('value', ['all', None, 2, 'True'])
def test_bad_values(value):
    with pytest.raises(ValueError, match="fold_activation must be True, False or 'recompute', but"):
        backbone(fold_activation=value)


@pytest.mark.parametrize('act_cfg', [dict(type='ReLU'), dict(type='ReLU6')])
def test_a_conv_module(act_cfg):
    plain, folded = module(act_cfg=act_cfg), module(act_cfg=act_cfg)
    assert fold_activations(folded) == 1 and folded.norm.activation == act_cfg['type']
    assert not folded.with_activation and type(folded.activate) is nn.Identity
    assert_alike(step(folded, 16), step(plain, 16))
    # What switches the activation off by hand finds nothing to switch.
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(folded(x), folded(x, activate=True))


@pytest.mark.parametrize(
    'kwargs',
    [
        dict(order=('norm', 'conv', 'act')),
        dict(order=('act', 'conv', 'norm')),
        dict(order=('conv', 'act', 'norm')),
        dict(act_cfg=None),
        dict(norm_cfg=None),
        dict(norm_cfg=dict(type='BN')),
        dict(act_cfg=dict(type='LeakyReLU')),
        dict(act_cfg=dict(type='HSwish')),
        dict(act_cfg=dict(type='PReLU')),
    ],
    ids=str,
)
def test_what_is_not_folded(kwargs):
    if kwargs.get('order', ('conv',))[0] == 'norm':
        kwargs = kwargs | dict(norm_cfg=DNB_CFG)
    built = module(**kwargs)
    before = str(built)
    assert fold_activations(built) == 0 and str(built) == before


def test_a_subclass_of_an_activation_is_not_folded():
    class Louder(nn.ReLU):
        def forward(self, x):
            return 2 * super().forward(x)

    built = module()
    built.activate = Louder()
    assert fold_activations(built) == 0


def test_hooks_on_the_norm_see_what_the_activation_leaves():
    plain, folded = module(), module()
    fold_activations(folded)
    seen = []
    for built in (plain, folded):
        built.norm.register_forward_hook(lambda _, __, y: seen.append(y.detach().clone()))
        built(torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(3)))
    assert seen[0].min() < 0
    torch.testing.assert_close(seen[1], seen[0].clamp(0, 6))


@pytest.mark.parametrize('member', ['bn', 'sc'])
def test_hooks_on_members_of_the_norm(member):
    folded, plain = module(), module()
    fold_activations(folded)
    seen = []
    getattr(folded.norm, member).register_forward_hook(lambda *_: seen.append(member))
    assert_alike(step(folded, 16), step(plain, 16))
    assert seen == [member]


def test_sync_bn_inside():
    folded = backbone().eval()
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(folded)).eval()
    x = torch.randn(1, 3, 64, 64)
    assert_alike(synced(x), folded(x))


def test_complexity_is_unchanged():
    folded = module()
    fold_activations(folded)
    plain, found = (
        get_model_complexity_info(built.eval(), (3, 9, 9), show_table=False, show_arch=False)
        for built in (module(), folded)
    )
    for name in ('flops', 'params'):
        assert found[name] == plain[name] > 0


@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')
@pytest.mark.parametrize('fold', [True, 'recompute'])
def test_gradient_checkpointing(fold):
    models = backbone(fold_activation=False), backbone(fold_activation=fold, with_cp=True)
    grads = []
    for model in models:
        x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
        sum(out.square().mean() for out in model(x)).backward()
        grads.append([parameter.grad for parameter in model.parameters()])
    assert_alike(*grads)


def test_copies_stay_folded():
    model = backbone(fold_activation='recompute').eval()
    x = torch.randn(1, 3, 64, 64)
    assert all(torch.equal(*pair) for pair in zip_strict(copy.deepcopy(model)(x), model(x)))
