"""Checkpoints that are missing, cut off, hostile, or of another model end the tool in a sentence."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from tiny import write_config

from dn_mmdet.engine import load_config, preflight, register_safe_globals


def build(config, **options):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(load_config(str(config), options).model)


def save(path, state, **more):
    """A checkpoint with all that mmengine puts into one."""
    losses = HistoryBuffer()
    losses.update(1.5)
    hub = dict(log_scalars={'train/loss': losses}, runtime_info={'best_score': np.float64(0.5)},
               resumed_keys={})
    torch.save(dict(state_dict=state, meta=dict(epoch=1, iter=2), message_hub=hub, optimizer={},
                    param_schedulers=[]) | more, path)


class Hostile:
    """Makes a file called `hacked` when it is unpickled."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ('touch hacked',) if self.function is os.system else ('hacked', 'w')


@pytest.fixture
def norms(place):
    """A folder with a configuration and a checkpoint for each norm."""
    for norm in ('bn', 'dnb'):
        config = write_config(place, norm, name=f'{norm}.py')
        save(place / f'{norm}.pth', build(config).state_dict())
    return place


def pretrained(path, *more):
    return ('--cfg-options', 'model.backbone.init_cfg.type=Pretrained',
            f'model.backbone.init_cfg.checkpoint={path}', *more)


@pytest.mark.parametrize('options, words', [
    (('--resume', 'gone.pth'), ['gone.pth of --resume does not exist']),
    (('--cfg-options', 'load_from=gone.pth'), ['gone.pth of load_from does not exist']),
    (pretrained('checkpoints/gone.pth'), [
        'checkpoints/gone.pth of model.backbone.init_cfg does not exist',
        'checkpoints/README.md says', '--cfg-options model.backbone.init_cfg=None'
    ]),
    (pretrained('gone.pth'), ['train the configuration that writes it']),
    (('--resume', 'data'), ['data of --resume is a folder']),
])
def test_missing(options, words, place, refused):
    sentence = refused('train.py', 'tiny.py', *options, folder=place)
    for word in words:
        assert word in sentence


def test_the_way_from_scratch_is_real(place):
    """What the sentence on a missing backbone proposes works."""
    write_config(place, more="model['backbone']['init_cfg'] = dict(type='Pretrained', "
                 "checkpoint='checkpoints/gone.pth', prefix='backbone.')")
    options = {'model.backbone.init_cfg': None}
    assert preflight(load_config('tiny.py', options), 'train') == []
    model = build('tiny.py', **options)
    before = model.backbone.conv1.conv.weight.std().item()
    model.init_weights()
    # He initialisation by fan-out: sqrt(2 / (9 * 16)).
    assert before != pytest.approx(0.118, rel=0.1)
    assert model.backbone.conv1.conv.weight.std().item() == pytest.approx(0.118, rel=0.1)


@pytest.mark.parametrize('spoil', [
    lambda path: path.write_bytes(path.read_bytes()[:5000]),
    lambda path: path.write_bytes(b''),
    lambda path: path.write_text('no checkpoint'),
    lambda path: torch.save([1, 2], path),
    lambda path: torch.save(dict(epoch=3), path),
], ids=['cut', 'empty', 'text', 'list', 'no weights'])
def test_not_a_checkpoint(spoil, norms, refused):
    spoil(norms / 'dnb.pth')
    for name, *arguments in (('test.py', 'dnb.pth'), ('train.py', '--resume', 'dnb.pth'),
                             ('train.py', *pretrained('dnb.pth'))):
        sentence = refused(name, 'tiny.py', *arguments, folder=norms)
        assert sentence.startswith('error: dnb.pth')


@pytest.mark.parametrize('save_hostile', [
    torch.save,
    lambda content, path: pickle.dump(content, open(path, 'wb'), protocol=2),
    lambda content, path: pickle.dump(content, open(path, 'wb'), protocol=4),
    lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
], ids=['torch', 'pickle 2', 'pickle 4', 'torch legacy'])
@pytest.mark.parametrize('function, name', [(os.system, 'posix.system'), (open, 'io.open')])
@pytest.mark.parametrize('forced', [False, True])
def test_code_in_a_checkpoint_is_refused(save_hostile, function, name, forced, norms, refused,
                                         monkeypatch):
    if forced:
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    save_hostile(dict(state_dict={}, meta=Hostile(function)), norms / 'hostile.pth')
    for tool, *arguments in (('test.py', 'hostile.pth'), ('train.py', '--resume', 'hostile.pth'),
                             ('train.py', *pretrained('hostile.pth'))):
        sentence = refused(tool, 'tiny.py', *arguments, folder=norms)
        assert f'hostile.pth is refused and none of it was run: beside tensors it holds {name}' \
            in sentence
    assert not (norms / 'hacked').exists()


def test_getattr_leads_nowhere(tmp_path):
    """The stand-in for getattr gives a HistoryBuffer its methods and nothing else."""
    register_safe_globals()

    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(Reach(), tmp_path / 'reach.pth')
    with pytest.raises(pickle.UnpicklingError, match='getattr'):
        torch.load(tmp_path / 'reach.pth', weights_only=True)


def test_text_that_resuming_would_run_is_refused(norms, refused):
    state = torch.load(norms / 'dnb.pth', weights_only=True)['state_dict']
    save(norms / 'dnb.pth', state,
         meta=dict(epoch=1, iter=2, config="open('hacked', 'w')"))
    sentence = refused('train.py', 'dnb.py', '--resume', 'dnb.pth', folder=norms)
    assert "dnb.pth is refused: its meta has a 'config'" in sentence


@pytest.mark.parametrize('config, checkpoint, words', [
    ('dnb.py', 'bn.pth', ['bn.pth has BN where the model of dnb.py has DNB, in 52 norm layers',
                          'allow_bn_checkpoint=True']),
    ('bn.py', 'dnb.pth', ['dnb.pth has DNB or DNC where the model of bn.py has BN, in 52 norm']),
])
def test_another_norm(config, checkpoint, words, norms, refused):
    count = len([k for k in build(norms / config).state_dict() if 'num_batches' not in k])
    for tool, *arguments in (
        ('test.py', checkpoint), ('train.py', '--resume', checkpoint),
        ('train.py', '--cfg-options', f'load_from={checkpoint}'),
        ('train.py', *pretrained(checkpoint, 'model.backbone.init_cfg.prefix=backbone.')),
    ):
        sentence = refused(tool, config, *arguments, folder=norms)
        for word in words:
            assert word in sentence
        # The counts: of the whole model, or of the backbone.
        given = int(sentence.split(' of the ')[1].split(' keys')[0])
        assert given == count or tool == 'train.py' and given < count
        assert ' are missing (' in sentence and ' are unexpected (' in sentence


def test_bn_checkpoint_on_purpose(norms):
    """With the switch a BN checkpoint is accepted, and what loads computes what BN did."""
    options = {'load_from': 'bn.pth', 'allow_bn_checkpoint': True}
    assert preflight(load_config('dnb.py', options), 'train') == []
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
    for ours, theirs in zip(dnb.backbone(image), bn.backbone(image), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_other_way_stays_refused(norms, refused):
    sentence = refused('train.py', 'bn.py', '--cfg-options', 'load_from=dnb.pth',
                       'allow_bn_checkpoint=True', folder=norms)
    assert 'has DNB or DNC where' in sentence


def test_another_architecture(norms, refused):
    model = build(norms / 'dnb.py', **{'model.backbone.widen_factor': 1.0,
                                       'model.bbox_head.in_channels': (576, 1280, 512, 256, 256, 128),
                                       'model.neck.in_channels': (576, 1280),
                                       'model.neck.out_channels': (576, 1280, 512, 256, 256, 128)})
    save(norms / 'wide.pth', model.state_dict())
    for tool, *arguments in (
        ('test.py', 'wide.pth'), ('train.py', '--resume', 'wide.pth'),
        ('train.py', '--cfg-options', 'load_from=wide.pth'),
        ('train.py', *pretrained('wide.pth', 'model.backbone.init_cfg.prefix=backbone.')),
    ):
        sentence = refused(tool, 'dnb.py', *arguments, folder=norms)
        assert 'wide.pth is of another architecture than ' in sentence
        assert ' are of another shape (' in sentence


@pytest.mark.parametrize('edit, words', [
    (lambda state: state.pop('backbone.conv1.conv.weight'),
     ['1 is missing (backbone.conv1.conv.weight)']),
    # A deeper network holds all that a shallow one has.
    (lambda state: state.update({'backbone.layer1.1.conv.weight': torch.zeros(1)}),
     ['1 is unexpected (backbone.layer1.1.conv.weight)']),
])
def test_one_key(edit, words, norms, refused):
    content = torch.load(norms / 'dnb.pth', weights_only=True)
    edit(content['state_dict'])
    torch.save(content, norms / 'edited.pth')
    for tool, *arguments in (
        ('test.py', 'edited.pth'), ('train.py', '--resume', 'edited.pth'),
        ('train.py', '--cfg-options', 'load_from=edited.pth'),
    ):
        sentence = refused(tool, 'dnb.py', *arguments, folder=norms)
        for word in words:
            assert word in sentence
    sentence = refused('train.py', 'dnb.py', *pretrained(
        'edited.pth', 'model.backbone.init_cfg.prefix=backbone.'), folder=norms)
    assert words[0].replace('backbone.', '', 1) in sentence


def test_backbone_of_a_whole_checkpoint(norms, refused):
    """A matching backbone passes, with the head beside it; a wrong prefix is told."""
    options = {'model.backbone.init_cfg.type': 'Pretrained',
               'model.backbone.init_cfg.checkpoint': 'dnb.pth'}
    prefix = 'model.backbone.init_cfg.prefix'
    assert preflight(load_config('dnb.py', options | {prefix: 'backbone.'}), 'train') == []
    sentence = refused('train.py', 'dnb.py', *pretrained('dnb.pth', f'{prefix}=body'), folder=norms)
    assert "dnb.pth has no key that begins with 'body.'" in sentence
    sentence = refused('train.py', 'dnb.py', *pretrained('dnb.pth'), folder=norms)
    assert "set model.backbone.init_cfg.prefix='backbone.'" in sentence


def test_another_number_of_classes_is_fine_tuning(norms, refused):
    """`load_from` may change the shape of the head; a test may not."""
    model = build(norms / 'dnb.py', **{'model.bbox_head.num_classes': 7})
    save(norms / 'seven.pth', model.state_dict())
    notes = preflight(load_config('dnb.py', {'load_from': 'seven.pth'}), 'train')
    assert len(notes) == 1
    assert '12 weights of the head have another shape' in notes[0]
    sentence = refused('test.py', 'dnb.py', 'seven.pth', folder=norms)
    assert '12 are of another shape (bbox_head.cls_convs' in sentence


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
