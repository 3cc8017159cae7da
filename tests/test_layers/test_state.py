import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn

from dn_mmdet.layers import DNB, DNC, DNLN, SEBN
from dn_mmdet.layers.norm_act import NormAct
from dn_mmdet.layers.state import (
    PLAIN,
    UNTOLD,
    form_mismatch,
    norm_mismatch,
    norms_of,
    rekeyed,
)
from tests.helpers.layer_maps import random_maps, randomize, trained_bn

SHAPE = (4, 24, 5, 7)
KEYS = [
    'alpha_offset',
    'lambda_offset',
    'bn.running_mean',
    'bn.running_var',
    'bn.num_batches_tracked',
    'sc.fc1_weight',
    'sc.fc1_bias',
    'sc.fc2_weight',
]


def small_network(norm):
    return nn.Sequential(nn.Conv2d(3, 24, 3), nn.Sequential(norm), nn.ReLU())


@pytest.mark.parametrize('layer', [DNB, DNC])
def test_state_dict_keys(layer):
    assert list(layer(24).state_dict()) == KEYS


@pytest.mark.parametrize('layer', [DNB, DNC])
@pytest.mark.parametrize('start', ['identity', 'paper'])
def test_bn_state_in_a_network(layer, start):
    source = small_network(trained_bn()).eval()
    target = small_network(layer(24, start=start)).eval()
    first_weight = target[1][0].sc.fc1_weight.clone()
    assert str(target.load_state_dict(source.state_dict())) == '<All keys matched successfully>'
    x = random_maps((2, 3, 8, 8))
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)
    assert torch.equal(target[1][0].sc.fc1_weight, first_weight)
    assert target[1][0].bn.num_batches_tracked == 7


def test_bn_state_by_mmengine():
    load_state_dict = pytest.importorskip('mmengine.runner.checkpoint').load_state_dict
    source, target = small_network(trained_bn()).eval(), small_network(DNB(24)).eval()
    load_state_dict(target, source.state_dict(), strict=True)
    x = random_maps((2, 3, 8, 8))
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize('lost, told', [('weight', 'alpha'), ('bias', 'lambda')])
def test_bn_state_that_lost_gamma_or_beta(lost, told):
    """A BatchNorm has both or neither; LayerNorm may have gamma alone."""
    state = trained_bn().state_dict()
    del state[lost]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{told}_offset"'):
        DNB(24).load_state_dict(state)
    layer = DNLN(24)
    layer.load_state_dict({'weight': torch.full((24,), 2.0)})
    assert layer.alpha_offset[0] == 2 and not layer.lambda_offset.any()


def test_bn_state_is_not_changed_by_loading():
    state = small_network(trained_bn()).state_dict()
    before = copy.deepcopy(state)
    target = small_network(DNB(24))
    target.load_state_dict(state)
    with torch.no_grad():
        target[1][0].alpha_offset.zero_()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in state)


@pytest.mark.parametrize('kwargs', [{'affine': False}, {'track_running_stats': False}])
def test_from_partial_bn(kwargs):
    bn, x = trained_bn(**kwargs), random_maps(SHAPE)
    torch.testing.assert_close(DNB.from_bn(bn)(x), bn(x), rtol=1e-6, atol=2e-6)


def test_from_bn_with_neither_statistics_nor_affine():
    bn = nn.BatchNorm2d(24, affine=False, track_running_stats=False)
    x = random_maps(SHAPE)
    layer = DNB.from_bn(bn, start='paper')
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-6, atol=2e-6)


def test_from_bn_keeps_dtype_and_mode():
    layer = DNB.from_bn(trained_bn().double().train())
    assert layer.training and layer.sc.fc1_weight.dtype == torch.float64


def test_own_state_round_trip():
    layer, other = randomize(DNB(24, r=4)).eval(), DNB(24, r=4).eval()
    other.load_state_dict(layer.state_dict())
    x = random_maps(SHAPE)
    assert torch.equal(layer(x), other(x))


@pytest.mark.parametrize('lost', ['sc.fc2_weight', 'bn.running_mean', 'alpha_offset'])
def test_missing_own_key_is_reported(lost):
    state = DNB(24).state_dict()
    del state[lost]
    with pytest.raises(RuntimeError, match=f'Missing key.*"{lost}"'):
        DNB(24).load_state_dict(state)


def test_bn_of_another_width_is_reported():
    with pytest.raises(RuntimeError, match='size mismatch for bn.running_mean'):
        DNB(24).load_state_dict(trained_bn(32).state_dict())


def test_norm_without_statistics_is_reported():
    with pytest.raises(RuntimeError, match='Missing key.*"bn.running_mean"'):
        DNB(24).load_state_dict(nn.GroupNorm(1, 24).state_dict())


def all_norms(first=DNB, second=DNC):
    return nn.Sequential(
        nn.Conv2d(3, 24, 3),
        nn.Sequential(first(24), second(24)),
        SEBN(24),
        nn.BatchNorm2d(24),
        nn.SyncBatchNorm(24),
        nn.GroupNorm(2, 24),
    )


KINDS = {'1.0': 'DNB', '1.1': 'DNC', '2': 'SEBN', '3': 'BN', '4': 'BN', '5': PLAIN}


def without_metadata(state):
    return dict(state)


def test_a_state_says_what_its_norms_are():
    state = all_norms().state_dict()
    assert norms_of(state) == KINDS
    form = {'fc1_scale': 1.0, 'fc2_scale': 1.0}
    assert state._metadata['1.0'] == {'version': 2, 'norm': 'DNB', 'sc_input': 'normalized', **form}
    assert state._metadata['1.1'] == {'version': 2, 'norm': 'DNC', 'sc_input': None, **form}
    assert state._metadata['2']['norm'] == 'SEBN'
    assert norms_of(without_metadata(state)) == KINDS | {'1.0': UNTOLD, '1.1': UNTOLD}


@pytest.mark.parametrize(
    ('layer', 'kind'), [(DNB, 'DNB'), (DNC, 'DNC'), (SEBN, 'SEBN'), (nn.BatchNorm2d, 'BN')]
)
def test_a_norm_alone(layer, kind):
    assert norms_of(layer(24).state_dict()) == {'': kind}
    statistics = {'BN': {'': PLAIN}, 'SEBN': {'bn': PLAIN}}.get(kind, {'': kind})
    assert norms_of(layer(24, track_running_stats=False).state_dict()) == statistics


def test_a_subclass_is_of_the_same_kind():
    class Own(DNC):
        pass

    assert norms_of(Own(24).state_dict()) == {'': 'DNC'}


def test_the_mark_survives_files(tmp_path):
    torch.save({'state_dict': all_norms().state_dict()}, tmp_path / 'norms.pth')
    state = torch.load(tmp_path / 'norms.pth', weights_only=True)['state_dict']
    assert norms_of(state) == KINDS
    assert norms_of(copy.deepcopy(state)) == KINDS


def test_the_mark_survives_the_runner(tmp_path):
    pytest.importorskip('mmengine')
    from tests.helpers import normed_map

    runner = normed_map.run(tmp_path, 'marked', custom_hooks=[dict(type='EMAHook')])
    runner.train()
    content = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    assert norms_of(content['state_dict']) == {'norm': 'DNB', 'other': 'BN'}
    assert norms_of(rekeyed(content['ema_state_dict'], without_module)) == {
        'norm': 'DNB',
        'other': 'BN',
    }


def without_module(key):
    return key[len('module.') :] if key.startswith('module.') else None


def test_other_keys_keep_the_metadata():
    state = nn.ModuleDict({'module': all_norms()}).state_dict()
    assert norms_of(rekeyed(state, without_module)) == KINDS
    inner = rekeyed(state, lambda key: key[9:] if key.startswith('module.1.') else None)
    assert norms_of(inner) == {'0': 'DNB', '1': 'DNC'}
    assert list(inner) == [f'{i}.{key}' for i in (0, 1) for key in KEYS]
    assert inner._metadata['0.sc'] == {'version': 1}


@pytest.mark.parametrize(
    'metadata',
    [7, {'1.0': 7}, {'1.0': {'norm': ['DNC']}}, {'1.0': {'norm': torch.ones(2)}}, {7: {}}],
)
def test_metadata_can_be_anything(metadata):
    state = OrderedDict(all_norms().state_dict())
    state._metadata = metadata
    assert norms_of(state)['1.0'] == UNTOLD
    assert norms_of(rekeyed(state, lambda key: key))['1.0'] == UNTOLD


def test_mismatch_of_kinds():
    model = all_norms()
    assert norm_mismatch(model, model.state_dict()) is None
    assert norm_mismatch(model, without_metadata(model.state_dict())) is None
    assert norm_mismatch(model, all_norms(DNC, DNC).state_dict()) == ('DNC', 'DNB', 1)
    assert norm_mismatch(model, all_norms(DNC, DNB).state_dict()) == ('DNC', 'DNB and DNC', 2)
    bn = all_norms(nn.BatchNorm2d, DNC).state_dict()
    assert norm_mismatch(model, bn) == ('BN', 'DNB', 1)
    assert norm_mismatch(all_norms(nn.BatchNorm2d), without_metadata(model.state_dict())) == (
        UNTOLD,
        'BN',
        1,
    )


@pytest.mark.parametrize('kind', ['DNB', 'DNC'])
def test_the_mark_does_not_hinder_loading(kind):
    """As ever, what the keys fit is loaded: to refuse twins is for those who check a run."""
    state = DNC(24).state_dict()
    state._metadata['']['norm'] = kind
    assert str(DNB(24).load_state_dict(state)) == '<All keys matched successfully>'


RAW = {'sc_input': 'raw'}
NORMALIZED = {'sc_input': 'normalized'}
CONDITIONED = {'parameterization': 'conditioned', 'gain': 'bn'}


def dnb(**form):
    return randomize(DNB(24, r=4, g='oup', **form)).eval()


def old_state(layer):
    """As version 1 wrote it, which knew one form and did not say what the SC-Module saw."""
    state = layer.state_dict()
    state._metadata[''] = {'version': 1, 'norm': 'DNB'}
    return state


@pytest.mark.parametrize(
    ('trained', 'other'),
    [
        (NORMALIZED, CONDITIONED),
        (CONDITIONED, NORMALIZED),
        (CONDITIONED, CONDITIONED | {'gain': 1.0}),
        ({}, {'gain': 'sqrt_bn'}),
        (RAW, RAW | {'parameterization': 'conditioned'}),
    ],
    ids=str,
)
@pytest.mark.parametrize('by', ['torch', 'mmengine'])
def test_weights_of_other_factors_are_converted(by, trained, other, tmp_path):
    source, target = nn.Sequential(dnb(**trained)), nn.Sequential(dnb(**other))
    torch.save(source.state_dict(), tmp_path / 'trained.pth')
    state = torch.load(tmp_path / 'trained.pth', weights_only=True)
    if by == 'torch':
        target.load_state_dict(state)
    else:
        load = pytest.importorskip('mmengine.runner.checkpoint').load_state_dict
        load(target, state, strict=True)
    x = random_maps(SHAPE)
    torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in state.items())
    assert form_mismatch(target, state) is None
    # Where no metadata reach the layers, what differs by factors alone is wrong as well.
    words, count = form_mismatch(target, state, converted=False)
    assert count == 1 and 'would not be converted' in words


@pytest.mark.parametrize('fuse', ['fc1', 'fc2'])
def test_weights_of_dnc_are_converted(fuse):
    source = randomize(DNC(24, r=4, g=2, fuse=fuse)).eval()
    target = DNC(24, r=4, g=2, fuse=fuse, **CONDITIONED).eval()
    for state in (source.state_dict(), old_state(source)):
        target.load_state_dict(state)
        x = random_maps(SHAPE)
        torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('form', [{}, RAW, NORMALIZED, {'gain': 'bn'}], ids=str)
def test_a_state_of_the_first_version_computes_what_it_did(form):
    """Whose default was the raw input: a layer that is not told of another takes that."""
    source = dnb(sc_input=form.get('sc_input', 'raw'))
    target = dnb(**form)
    assert form_mismatch(target, old_state(source)) is None
    target.load_state_dict(old_state(source))
    x = random_maps(SHAPE)
    torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)
    again = dnb(sc_input=target.sc_input, gain=form.get('gain', 1.0))
    again.load_state_dict(target.state_dict())
    assert torch.equal(again(x), target(x))


@pytest.mark.parametrize('form', [{}, {'gain': 'bn'}, CONDITIONED], ids=str)
def test_a_layer_that_is_not_told_what_its_sc_module_sees_takes_it_from_the_weights(form):
    """Those of either kind, one after the other, and its own again."""
    target, x = dnb(**form), random_maps(SHAPE)
    for trained in (RAW, NORMALIZED, RAW):
        source = dnb(**trained)
        assert form_mismatch(target, source.state_dict()) is None
        target.load_state_dict(source.state_dict())
        torch.testing.assert_close(target(x), source(x), rtol=1e-5, atol=1e-5)
        again = dnb(**form)
        again.load_state_dict(target.state_dict())
        assert torch.equal(again(x), target(x))
    # What is no SC-Module's says nothing of it.
    plain = nn.BatchNorm2d(24).state_dict()
    plain._metadata['']['version'] = 1
    target.load_state_dict(plain)
    assert target.sc_input == 'raw'
    target.load_state_dict(dnb(**NORMALIZED).state_dict())
    target.load_state_dict(plain)
    assert target.sc_input == 'normalized'


@pytest.mark.parametrize('old', [True, False])
@pytest.mark.parametrize('wrapped', [True, False])
def test_what_a_layer_is_not_told_is_refused(wrapped, old):
    """As of a part of a file, where mmengine leaves out what tells of the form."""
    source = dnb(**RAW)
    state = old_state(source) if old else source.state_dict()
    for form in ({}, RAW, NORMALIZED):
        layer = dnb(**form)
        model = NormAct(layer, nn.ReLU()) if wrapped else layer
        assert form_mismatch(layer, state, converted=False) is None or form == NORMALIZED
        found = form_mismatch(model, state, told=False)
        if form == {} or (form == NORMALIZED and not old):
            assert found[1] == 1 and found[0].endswith("give it sc_input='raw'")
        else:
            assert found is None


@pytest.mark.parametrize(
    ('trained', 'form', 'words'),
    [
        (RAW, NORMALIZED, "trained with sc_input='raw' and .*'normalized': give it sc_input='raw'"),
        (
            RAW,
            CONDITIONED | NORMALIZED,
            "trained with sc_input='raw' and .*'normalized': give it sc_input='raw'",
        ),
        (CONDITIONED, RAW, "trained with sc_input='normalized' and the layer has sc_input='raw'"),
        (None, CONDITIONED, "'paper' and gain=1 by a version that did not record sc_input"),
    ],
)
def test_what_cannot_be_converted_is_refused(trained, form, words):
    state = old_state(dnb()) if trained is None else dnb(**trained).state_dict()
    layer = DNB(24, r=4, g='oup', **form)
    with pytest.raises(RuntimeError, match=f'DNB: the weights were .*{words}'):
        layer.load_state_dict(state)
    reason, count = form_mismatch(layer, state)
    assert count == 1 and reason.startswith('the weights were trained with')


def test_a_refusal_names_the_layer():
    state = nn.ModuleDict({'inner': nn.Sequential(dnb(**RAW))}).state_dict()
    model = nn.ModuleDict({'inner': nn.Sequential(dnb(**NORMALIZED))})
    with pytest.raises(RuntimeError, match='\tinner.0: the weights were trained with'):
        model.load_state_dict(state)


@pytest.mark.parametrize('form', [{}, CONDITIONED], ids=str)
def test_a_state_without_metadata_is_taken_as_it_is(form):
    source, target = dnb(**form), DNB(24, r=4, g='oup', **form).eval()
    target.load_state_dict(without_metadata(source.state_dict()))
    x = random_maps(SHAPE)
    assert torch.equal(target(x), source(x))
    assert form_mismatch(target, without_metadata(source.state_dict()), converted=False) is None


@pytest.mark.parametrize(
    'told', [{'fc1_scale': 0.0}, {'fc1_scale': 'a'}, {'fc2_scale': float('nan')}, {'version': [1]}]
)
def test_a_damaged_form_is_not_told(told):
    layer, state = dnb(), dnb().state_dict()
    state._metadata[''].update(told)
    state._metadata['']['sc_input'] = 7
    assert form_mismatch(layer, state) is None
    layer.load_state_dict(state)
    assert torch.equal(layer.sc.fc1_weight, state['sc.fc1_weight'])


@pytest.mark.parametrize('start', ['identity', 'paper'])
def test_bn_states_are_of_no_form(start):
    source = small_network(trained_bn()).eval()
    target = small_network(DNB(24, start=start, **CONDITIONED)).eval()
    assert form_mismatch(target, source.state_dict(), converted=False) is None
    target.load_state_dict(source.state_dict())
    x = random_maps((2, 3, 8, 8))
    torch.testing.assert_close(target(x), source(x), rtol=1e-6, atol=2e-6)
