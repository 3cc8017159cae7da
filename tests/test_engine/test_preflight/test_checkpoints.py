"""Checkpoints that are missing, cut off, hostile or of another model are told in a sentence."""

import os
import pickle
import shutil
from argparse import Namespace

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from dn_mmdet.engine import load_config, run_preflight
from dn_mmdet.layers.state import rekeyed
from dn_mmdet.utils.errors import UserError
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.checkpoints import save
from tests.helpers.tiny import write_config

INIT = 'model.backbone.init_cfg'


def build(config, **options):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(load_config(str(config), options).model)


class Hostile:
    """Makes a file called `hacked` when it is unpickled."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ('touch hacked',) if self.function is os.system else ('hacked', 'w')


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A checkpoint of each norm."""
    folder = tmp_path_factory.mktemp('saved')
    for norm in ('bn', 'dnb'):
        save(folder / f'{norm}.pth', build(write_config(folder, norm)).state_dict())
    return folder


@pytest.fixture
def norms(place, saved):
    """A folder with a checkpoint and two configurations of each norm.

    One begins at random, the other with the backbone of a checkpoint.
    """
    for norm in ('bn', 'dnb'):
        shutil.copy(saved / f'{norm}.pth', place)
        write_config(place, norm, name=f'{norm}.py')
        write_config(place, norm, name=f'{norm}_pretrained.py', more='model = dict()')
    return place


def runs(norm, path):
    """Tool and arguments of every way to load a whole checkpoint."""
    return (
        ('test.py', f'{norm}.py', path),
        ('train.py', f'{norm}.py', '--resume', path),
        ('train.py', f'{norm}.py', '--cfg-options', f'load_from={path}'),
        ('train.py', f'{norm}_pretrained.py', *pretrained(path)),
    )


def pretrained(path, *more):
    return '--cfg-options', f'model.backbone.init_cfg.checkpoint={path}', *more


@pytest.mark.parametrize(
    'options, words',
    [
        (('--resume', 'gone.pth', *pretrained('dnb.pth')), ['gone.pth of --resume does not exist']),
        (pretrained('dnb.pth', 'load_from=gone.pth'), ['gone.pth of load_from does not exist']),
        (
            pretrained('checkpoints/gone.pth'),
            [
                'checkpoints/gone.pth of model.backbone.init_cfg does not exist',
                'checkpoints/README.md says',
                '--cfg-options model.backbone.init_cfg=None',
            ],
        ),
        (pretrained('gone.pth'), ['train the configuration that produces it']),
        (('--resume', 'data', *pretrained('dnb.pth')), ['data of --resume is a folder']),
    ],
)
def test_missing(options, words, norms, refused):
    sentence = refused('train.py', 'dnb_pretrained.py', *options, folder=norms)
    for word in words:
        assert word in sentence


def test_the_way_from_scratch_is_real(norms):
    """What the sentence on a missing backbone proposes works."""
    options = {'model.backbone.init_cfg': None}
    assert run_preflight(load_config('dnb_pretrained.py', options), 'train') == []
    model = build('dnb_pretrained.py', **options)
    torch.nn.init.constant_(model.backbone.conv1.conv.weight, 7)
    torch.manual_seed(0)
    model.init_weights()
    # He initialisation by fan-out: sqrt(2 / (9 * 16)).
    assert model.backbone.conv1.conv.weight.std().item() == pytest.approx(0.118, rel=0.1)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(b''),
        lambda path: path.write_text('no checkpoint'),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(dict(epoch=3), path),
    ],
    ids=['cut', 'empty', 'text', 'list', 'no weights'],
)
def test_not_a_checkpoint(spoil, norms, refused):
    spoil(norms / 'dnb.pth')
    for arguments in runs('dnb', 'dnb.pth'):
        sentence = refused(*arguments, folder=norms)
        assert sentence.startswith('error: dnb.pth')


def save_pickle(content, path, **options):
    path.write_bytes(pickle.dumps(content, **options))


@pytest.mark.parametrize(
    'save_hostile, options',
    [
        (torch.save, {}),
        (torch.save, dict(_use_new_zipfile_serialization=False)),
        (save_pickle, dict(protocol=2)),
        (save_pickle, dict(protocol=4)),
    ],
)
@pytest.mark.parametrize('function, name', [(os.system, 'posix.system'), (open, 'io.open')])
def test_code_in_a_checkpoint_is_refused(
    save_hostile, options, function, name, norms, refused, monkeypatch
):
    save_hostile(dict(state_dict={}, meta=Hostile(function)), norms / 'hostile.pth', **options)
    # Every way to load, with torch's default; one with the default switched off.
    ways = runs('dnb', 'hostile.pth') if options == {} else ()
    for i, arguments in enumerate((*ways, ('test.py', 'dnb.py', 'hostile.pth'))):
        if i == len(ways):
            monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
        sentence = refused(*arguments, folder=norms)
        assert (
            f'hostile.pth is refused and none of it was run: besides tensors it contains {name}'
            in sentence
        )
    assert not (norms / 'hacked').exists()


def test_text_that_resuming_would_run_is_refused(norms, refused):
    state = torch.load(norms / 'dnb.pth', weights_only=True)['state_dict']
    save(norms / 'dnb.pth', state, meta=dict(epoch=1, iter=2, config="open('hacked', 'w')"))
    sentence = refused('train.py', 'dnb.py', '--resume', 'dnb.pth', folder=norms)
    assert "dnb.pth is refused: its meta has a 'config'" in sentence


@pytest.mark.parametrize(
    'norm, checkpoint, words',
    [
        (
            'dnb',
            'bn.pth',
            [
                'bn.pth has BN where the model of dnb',
                'has DNB, in 52 norm layers. Compared by key, ',
                'allow_bn_checkpoint=True',
            ],
        ),
        (
            'bn',
            'dnb.pth',
            [
                'dnb.pth has DNB where the model of bn',
                'has BN, in 52 norm layers. Compared by key, ',
            ],
        ),
    ],
)
def test_another_norm(norm, checkpoint, words, norms, refused):
    state = torch.load(norms / f'{norm}.pth', weights_only=True)['state_dict']
    keys = [key for key in state if not key.endswith('num_batches_tracked')]
    counts = [len(keys)] * 3 + [sum(key.startswith('backbone.') for key in keys)]
    for arguments, count in zip_strict(runs(norm, checkpoint), counts):
        sentence = refused(*arguments, folder=norms)
        for word in words:
            assert word in sentence
        assert f' of the {count} keys of the model match' in sentence
        assert ' are missing (' in sentence and ' are unexpected (' in sentence


def test_norms_with_the_same_keys(norms, refused):
    """DNB and DNC differ only in what the state says, or, if it does not, the configuration."""
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    told = [each for each in content['state_dict']._metadata.values() if 'norm' in each]
    assert len(told) == 52 and all(each['norm'] == 'DNB' for each in told)
    for each in told:
        each['norm'] = 'DNC'
    content['meta']['cfg'] = "norm_cfg=dict(type='DNB')"
    torch.save(content, norms / 'dnc.pth')
    # One way to load the model, and the one that takes a part of it.
    for arguments in runs('dnb', 'dnc.pth')[2:]:
        assert 'dnc.pth has DNC where the model of dnb' in refused(*arguments, folder=norms)


def test_norms_with_the_same_keys_in_a_file_of_before_they_said_what_they_are(norms, refused):
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    for each in content['state_dict']._metadata.values():
        each.pop('norm', None)
    content['meta']['cfg'] = "norm_cfg=dict(type='DNC')"
    torch.save(content, norms / 'dnc.pth')
    for arguments in runs('dnb', 'dnc.pth'):
        assert 'dnc.pth has DNC where the model of dnb' in refused(*arguments, folder=norms)
    assert 'dnc.pth has DNB or DNC where' in refused(*runs('bn', 'dnc.pth')[0], folder=norms)
    content['meta']['cfg'] = "norm_cfg=dict(type='DNB')"
    torch.save(content, norms / 'dnb.pth')
    assert run_preflight(load_config('dnb.py', {'load_from': 'dnb.pth'}), 'train') == []


def test_forms_of_the_sc_module(norms):
    """What differs by a factor is converted where the checkpoint is loaded whole, and alone."""
    key = 'model.backbone.norm_cfg.'
    gain, raw = {f'{key}gain': 2.0}, {f'{key}sc_input': 'raw'}
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    for told in content['state_dict']._metadata.values():
        if told.get('norm') == 'DNB':
            told.clear()
            told.update(version=1, norm='DNB')
    torch.save(content, norms / 'first.pth')
    whole, part = {'load_from': 'dnb.pth'}, {pretrained('dnb.pth')[1].split('=')[0]: 'dnb.pth'}
    first, of_first = (dict.fromkeys(place, 'first.pth') for place in (whole, part))
    assert run_preflight(load_config('dnb.py', {**whole, **gain}), 'train') == []
    assert run_preflight(load_config('dnb.py', first), 'train') == []
    assert run_preflight(load_config('dnb_pretrained.py', {**of_first, **raw}), 'train') == []
    for file, options, words in (
        ('dnb.py', {**whole, **gain, 'resume': True}, 'and gain=1 and .* gain=2, for which they w'),
        ('dnb_pretrained.py', {**part, **gain}, "'paper' and gain=2, for which they would not"),
        ('dnb.py', {**whole, **raw}, "sc_input='normalized' and .*: give it sc_input='normal"),
        ('dnb_pretrained.py', {**part, **raw}, "sc_input='normalized' and .*'raw'"),
        ('dnb_pretrained.py', of_first, "sc_input='raw' and .*: give it sc_input='raw'"),
    ):
        with pytest.raises(UserError, match=f'.pth does not fit 52 norm layers .*{words}'):
            run_preflight(load_config(file, options), 'train')


def test_forms_of_the_sc_module_in_a_file_of_distributed_training(norms):
    """mmengine takes `module.` off the keys and leaves it in what the layers say of their form."""
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    save(norms / 'wrapped.pth', rekeyed(content['state_dict'], lambda key: f'module.{key}'))
    assert run_preflight(load_config('dnb.py', {'load_from': 'wrapped.pth'}), 'train') == []
    options = {'load_from': 'wrapped.pth', 'model.backbone.norm_cfg.gain': 2.0}
    for mode in ('train', 'test'):
        with pytest.raises(UserError, match='52 norm layers .* for which they would not be conv'):
            run_preflight(load_config('dnb.py', options), mode)


@pytest.mark.parametrize(
    'lost, words',
    [
        (('weight',), r'1 is missing \(backbone.conv1.bn.alpha_offset'),
        (('bias',), r'1 is missing \(backbone.conv1.bn.lambda_offset'),
        (
            ('weight', 'bias'),
            'neither weight nor bias for 1 of 76 BatchNorms .backbone.conv1.bn',
        ),
    ],
)
def test_bn_checkpoint_that_lost_gammas_or_betas(lost, words, norms):
    content = torch.load(norms / 'bn.pth', weights_only=True)
    for name in lost:
        del content['state_dict'][f'backbone.conv1.bn.{name}']
    torch.save(content, norms / 'bn.pth')
    options = {'load_from': 'bn.pth', 'allow_bn_checkpoint': True}
    with pytest.raises(UserError, match=f'bn.pth .*{words}'):
        run_preflight(load_config('dnb.py', options), 'train')


def test_bn_checkpoint_on_purpose(norms):
    """With the switch a BN checkpoint is accepted, and what loads computes what BN did."""
    options = {'load_from': 'bn.pth', 'allow_bn_checkpoint': True}
    assert run_preflight(load_config('dnb.py', options), 'train') == []
    bn, dnb = build(norms / 'bn.py').eval(), build(norms / 'dnb.py').eval()
    with torch.no_grad():
        for module in bn.backbone.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-1, 1)
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 1.5)
    save(norms / 'bn.pth', bn.state_dict())
    load_checkpoint(dnb, str(norms / 'bn.pth'))
    image = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip_strict(dnb.backbone(image), bn.backbone(image)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_weights_of_gn_for_dn_over_gn(norms):
    """They are asked for as those of BN are; BN's have another name and are of another network."""
    for norm in ('gn', 'dngn'):
        write_config(norms, norm, name=f'{norm}.py')
        save(norms / f'{norm}.pth', build(norms / f'{norm}.py').state_dict())
    asked = 'to start DNGN from the weights of GN, IN or LN, add --cfg-options allow_bn_checkpoint='
    for model, file, words in (
        ('dngn', 'gn', f'has GN, IN or LN where .* has DNGN, in 52 norm layers.*{asked}'),
        ('gn', 'dngn', 'has DNGN where .* has GN, IN or LN, .* configuration of the same norm[.]$'),
        ('dngn', 'bn', 'does not have the architecture'),
        ('dnb', 'gn', 'does not have the architecture'),
    ):
        with pytest.raises(UserError, match=f'{file}.pth {words}'):
            run_preflight(load_config(f'{model}.py', {'load_from': f'{file}.pth'}), 'train')
    options = {'load_from': 'gn.pth', 'allow_bn_checkpoint': True}
    assert run_preflight(load_config('dngn.py', options), 'train') == []


def test_the_other_way_stays_refused(norms, refused):
    sentence = refused(
        'train.py',
        'bn.py',
        '--cfg-options',
        'load_from=dnb.pth',
        'allow_bn_checkpoint=True',
        folder=norms,
    )
    assert 'has DNB where' in sentence


def test_another_architecture(norms, refused):
    channels = (576, 1280, 512, 256, 256, 128)
    model = build(
        norms / 'dnb.py',
        **{
            'model.backbone.widen_factor': 1.0,
            'model.neck.in_channels': channels[:2],
            'model.neck.out_channels': channels,
            'model.bbox_head.in_channels': channels,
        },
    )
    save(norms / 'wide.pth', model.state_dict())
    for arguments in runs('dnb', 'wide.pth'):
        sentence = refused(*arguments, folder=norms)
        assert 'wide.pth does not have the architecture of ' in sentence
        assert ' are of a different shape (' in sentence


@pytest.mark.parametrize(
    'edit, words',
    [
        (
            lambda state: state.pop('backbone.conv1.conv.weight'),
            '1 is missing (backbone.conv1.conv.weight)',
        ),
        # A deeper network holds all that a shallow one has.
        (
            lambda state: state.update({'backbone.layer1.1.conv.weight': torch.zeros(1)}),
            '1 is unexpected (backbone.layer1.1.conv.weight)',
        ),
    ],
)
def test_one_key(edit, words, norms, refused):
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    edit(content['state_dict'])
    torch.save(content, norms / 'edited.pth')
    for i, arguments in enumerate(runs('dnb', 'edited.pth')):
        sentence = refused(*arguments, folder=norms)
        assert (words.replace('backbone.', '') if i == 3 else words) in sentence


@pytest.mark.parametrize(
    'change, words',
    [
        (lambda value: value.int(), 'is torch.int32 where floating-point numbers belong'),
        (lambda value: value + 1j, 'is torch.complex64 where'),
        (lambda value: value.tolist(), 'is list where'),
        (lambda value: -value, 'holds -1, and a variance is never negative'),
    ],
)
def test_numbers_that_layers_do_not_have(change, words, norms, refused):
    content = torch.load('dnb.pth', weights_only=True)
    key = 'backbone.conv1.bn.bn.running_var'
    content['state_dict'][key] = change(content['state_dict'][key])
    torch.save(content, 'edited.pth')
    for arguments in runs('dnb', 'edited.pth'):
        sentence = refused(*arguments, folder=norms)
        assert 'conv1.bn.bn.running_var ' in sentence and words in sentence


def test_backbone_of_a_whole_checkpoint(norms, refused):
    """A matching backbone passes, with the head beside it; a wrong prefix is told."""
    config, prefix = 'dnb_pretrained.py', 'model.backbone.init_cfg.prefix'
    options = {'model.backbone.init_cfg.checkpoint': 'dnb.pth'}
    assert run_preflight(load_config(config, options), 'train') == []
    sentence = refused('train.py', config, *pretrained('dnb.pth', f'{prefix}=body'), folder=norms)
    assert "dnb.pth has no key that begins with 'body.'" in sentence
    sentence = refused('train.py', config, *pretrained('dnb.pth', f'{prefix}=None'), folder=norms)
    assert "set model.backbone.init_cfg.prefix='backbone.'" in sentence


@pytest.mark.parametrize(
    'norm, strip, given',
    [('dnb', '', ", prefix='backbone.'"), ('dnb', 'backbone.', ''), ('bn', 'backbone.', '')],
)
def test_a_lone_backbone_for_the_whole_model(norm, strip, given, norms, refused):
    state = torch.load(f'{norm}.pth', weights_only=True)['state_dict']
    lone = {k.removeprefix(strip): v for k, v in state.items() if k.startswith('backbone.')}
    torch.save(lone, 'lone.pth')
    options = ('--cfg-options', 'load_from=lone.pth')
    sentence = refused('train.py', 'dnb.py', *options, folder=norms)
    assert 'lone.pth holds a backbone and nothing else of the model' in sentence
    init = f"dict(_delete_=True, type='Pretrained', checkpoint='lone.pth'{given})"
    assert sentence.endswith(f'load_from=None, and in the configuration {INIT}={init}.')
    # The way that it shows is real.
    (norms / 'config.py').write_text(
        "_base_ = 'dnb.py'\nallow_bn_checkpoint = True\n"
        f'model = dict(backbone=dict(init_cfg={init}))'
    )
    assert run_preflight(load_config('config.py'), 'train') == []


def test_weights_where_mmengine_does_not_look(norms, refused):
    """It would load nothing of them, and say so in a warning at most."""
    state = torch.load('dnb.pth', weights_only=True)['state_dict']
    torch.save({'model': state, 'args': Namespace(lr=0.1)}, 'model.pth')
    torch.save({f'_orig_mod.{key}': value for key, value in state.items()}, 'compiled.pth')
    torch.save({f'module.module.{key}': value for key, value in state.items()}, 'twice.pth')
    for arguments in runs('dnb', 'model.pth'):
        sentence = refused(*arguments, folder=norms)
        assert "model.pth has its weights under 'model', where mmengine looks" in sentence
        assert 'bn_to_dnb.py CONFIG model.pth` (with --keep-bn' in sentence
    for name in ('compiled', 'twice'):
        for arguments in runs('dnb', f'{name}.pth'):
            sentence = refused(*arguments, folder=norms)
            assert f'{name}.pth has names as' in sentence
            assert f'bn_to_dnb.py {arguments[1]} {name}.pth`' in sentence


def test_another_number_of_classes_is_fine_tuning(norms, refused):
    """`load_from` may change the shape of the head; a test may not."""
    model = build(norms / 'dnb.py', **{'model.bbox_head.num_classes': 7})
    save(norms / 'seven.pth', model.state_dict())
    notes = run_preflight(load_config('dnb.py', {'load_from': 'seven.pth'}), 'train')
    assert len(notes) == 1
    assert '12 weights of the head have a different shape' in notes[0]
    sentence = refused('test.py', 'dnb.py', 'seven.pth', folder=norms)
    assert '12 are of a different shape (bbox_head.cls_convs' in sentence


def test_resuming_needs_the_optimizer(norms, refused):
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    del content['optimizer']
    torch.save(content, norms / 'best.pth')
    sentence = refused('train.py', 'dnb.py', '--resume', 'best.pth', folder=norms)
    assert 'best.pth holds weights without the state of the optimizer' in sentence


def test_last_checkpoint_that_names_nothing(norms, refused):
    work = norms / 'work'
    work.mkdir()
    (work / 'epoch_2.pth').write_bytes(b'')
    for name in ('', '/gone/epoch_3.pth'):
        (work / 'last_checkpoint').write_text(name)
        sentence = refused('train.py', 'dnb.py', '--work-dir', 'work', '--resume', folder=norms)
        assert 'last_checkpoint names the checkpoint' in sentence
        assert 'one of those in work: epoch_2.pth' in sentence
