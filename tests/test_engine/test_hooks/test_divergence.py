"""A run whose loss or weights are not finite stops in a sentence and keeps the last checkpoint."""

import multiprocessing
import re

import pytest
import torch
from mmengine.hooks import Hook

from dn_mmdet import engine
from dn_mmdet.engine import DivergedError, InvalidLossHook, load_config
from dn_mmdet.engine.hooks.divergence import _first_told, as_diverged_errors
from dn_mmdet.engine.run import drop_disabled_hooks, use_own_hooks
from dn_mmdet.utils.errors import UserError
from tests.helpers.point import At, point_runner
from tests.helpers.tiny import write_classifier, write_image_folder

# The hooks of a configuration that has never heard of this package.
FOREIGN_HOOKS = """
resize = dict(type='Resize', scale=(32, 32))
pipeline = [dict(type='LoadImageFromFile'), resize, dict(type='PackClassInputs')]
train_dataloader['dataset']['pipeline'] = pipeline
train_dataloader['drop_last'] = True
default_hooks = dict(_delete_=True, checkpoint=dict(type='CheckpointHook', interval=1))
val_dataloader = val_cfg = val_evaluator = None
param_scheduler = None
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder in which one epoch was trained at a good rate."""
    folder = tmp_path_factory.mktemp('diverging')
    for split in ('train', 'val'):
        write_image_folder(folder / 'crops' / split)
    config = write_classifier(folder)
    config.write_text(
        config.read_text().replace(
            'default_hooks = dict(checkpoint=dict(save_best=None))', FOREIGN_HOOKS
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        engine.train('classifier.py', work_dir='work')
    return folder


def test_absurd_rate_stops_and_a_lower_one_goes_on(folder, refused, monkeypatch):
    """The whole way: the sentence of the tool, what it leaves, and what it tells to do."""
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in (folder / 'work').glob('*.pth')}
    sentence = refused(
        'train.py',
        'classifier.py',
        '--work-dir',
        'work',
        '--resume',
        '--cfg-options',
        'optim_wrapper.optimizer.lr=1e20',
        'train_cfg.max_epochs=3',
        folder=folder / 'crops',
    )
    # Two iterations in an epoch, of which the third makes the weights absurd.
    assert sentence.startswith('error: the loss is nan at iteration 4 (epoch 2), in a batch of ')
    assert re.search(
        r'/crops/train/\w+/0.png and 2 more; the first output that is not finite is that of '
        r'backbone\.\S+ \(\w+\), at a learning rate of 1e\+20: lower optim_wrapper.optimizer.lr, ',
        sentence,
    )
    assert 'LinearLR' in sentence and 'optim_wrapper.clip_grad' in sentence
    kept = str(folder / 'work/epoch_1.pth')
    assert (
        f'The last good checkpoint is {kept}: the same command with --resume and a lower rate '
        'under --cfg-options continues from it.'
    ) in sentence

    logs = [path.read_text() for path in (folder / 'work').glob('2*/*.log')]
    assert sum(sentence.removeprefix('error: ').strip() in log for log in logs) == 1
    assert all(re.search(r' git revision: (\w{40}(-dirty)?|unknown)$', log, re.M) for log in logs)
    assert (folder / 'work/last_checkpoint').read_text() == kept
    assert {path: path.read_bytes() for path in (folder / 'work').glob('*.pth')} == before
    state = torch.load(kept, weights_only=True)
    assert all(value.isfinite().all() for value in state['state_dict'].values())

    runner = engine.train(
        'classifier.py',
        work_dir='work',
        resume='auto',
        cfg_options={'optim_wrapper.optimizer.lr': 0.01, 'train_cfg.max_epochs': 2},
    )
    assert (runner.epoch, runner.iter) == (2, 4)
    state = torch.load(folder / 'work/epoch_2.pth', weights_only=True)
    assert all(value.isfinite().all() for value in state['state_dict'].values())
    assert state['optimizer']['param_groups'][0]['lr'] == 0.01


def spoil_loss(runner):
    runner.model.point.weight.data.fill_(torch.nan)


@pytest.mark.parametrize('iteration', [2, 3])
def test_every_iteration_is_looked_at(iteration, tmp_path):
    """The first iteration with broken weights stops, whichever it is; a NaN accuracy does not."""
    run = point_runner(tmp_path, At(iteration, spoil_loss))
    # It would tell of the weights at the end of an epoch.
    run._hooks = [h for h in run._hooks if type(h).__name__ != 'AtomicCheckpointHook']
    with pytest.raises(DivergedError) as stop:
        run.train()
    assert stop.value.iteration == iteration + 1
    sentence = str(stop.value)
    assert sentence.startswith(
        f'the loss is nan (loss_a nan, loss_b nan) at iteration '
        f'{iteration + 1} (epoch {iteration // 2 + 1}); the first output that is not finite is '
        'that of point (Linear), at a learning rate of 0.1: lower'
    )
    assert sentence.endswith('No checkpoint was written yet, so start over.')
    assert isinstance(stop.value, UserError)


def spoil_gradient(iterations):
    """A hook that makes the gradient of the linear layer NaN; the loss is finite."""

    class Spoil(Hook):
        def before_run(self, runner):
            bad = torch.tensor(torch.nan)
            runner.model.point.weight.register_hook(
                lambda gradient: gradient * bad if runner.iter + 1 in iterations else gradient
            )

    return Spoil()


def test_a_gradient_that_is_not_finite_makes_no_update(tmp_path):
    run = point_runner(tmp_path, spoil_gradient([3]))
    with pytest.raises(DivergedError) as stop:
        run.train()
    assert str(stop.value).startswith(
        'the gradient of point.weight is not finite at iteration 3 (epoch 2), at a learning rate'
    )
    kept = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert torch.equal(kept['point.weight'], run.model.point.weight)


@pytest.mark.parametrize('bad, ends', [([3, 4, 6], None), ([2, 3, 4, 5], 4)])
def test_steps_are_passed_over_if_asked_for(bad, ends, tmp_path):
    run = point_runner(tmp_path, spoil_gradient(bad))
    next(hook for hook in run.hooks if isinstance(hook, InvalidLossHook)).__init__(skip=2)
    if ends is None:
        run.train()
        assert run.iter == 6
    else:
        with pytest.raises(DivergedError, match=f'not finite at iteration {ends} '):
            run.train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'of point.weight is not finite at iteration 3 (epoch 2): its update is passed' in log
    assert all(value.isfinite().all() for value in run.model.parameters())


def test_statistics_that_are_lost_are_not_passed_over(tmp_path):
    run = point_runner(tmp_path, At(2, spoil_loss))
    next(hook for hook in run.hooks if isinstance(hook, InvalidLossHook)).__init__(skip=9)
    run._hooks = [h for h in run._hooks if type(h).__name__ != 'AtomicCheckpointHook']
    with pytest.raises(DivergedError, match='at iteration 3 '):
        run.train()


def test_a_part_is_named(tmp_path, monkeypatch):
    run = point_runner(tmp_path)
    step = run.model.train_step

    def train_step(*args, **kwargs):
        out = step(*args, **kwargs)
        if run.iter == 1:
            out.update(
                loss=torch.tensor(torch.inf),
                loss_b=torch.tensor(torch.inf),
                loss_a=torch.tensor(2.0),
            )
        return out

    monkeypatch.setattr(run.model, 'train_step', train_step)
    with pytest.raises(DivergedError, match=r'the loss is inf \(loss_a 2, loss_b inf\) at iter'):
        run.train()


def test_no_rate_is_to_blame_before_the_first_update(tmp_path):
    run = point_runner(tmp_path)
    run.call_hook('before_run')
    spoil_loss(run)
    with pytest.raises(
        DivergedError, match='iteration 1 .*the learning rate is not to blame.*annot'
    ):
        run.train()


def spoil_weight(runner):
    runner.model.point.weight.data[0, 0] = torch.inf


def spoil_weight_late(runner):
    spoil_weight(runner)


def spoil_statistics(runner):
    runner.model.norm.running_var[1] = torch.nan


def spoil_momentum(runner):
    runner.optim_wrapper.optimizer.state[runner.model.point.bias]['momentum_buffer'][:] = torch.inf


def spoil_averages(runner):
    hook = next(h for h in runner.hooks if type(h).__name__ == 'EMAHook')
    hook.ema_model.module.point.bias.data[:] = torch.nan


@pytest.mark.parametrize(
    'spoil, key, hooks',
    [
        (spoil_weight, 'state_dict.point.weight', []),
        (spoil_weight, 'state_dict.point.weight', ['EMAHook']),
        (spoil_statistics, 'state_dict.norm.running_var', []),
        # Averages that are still good hide the model's own weights, which lie under this name.
        (spoil_weight_late, 'ema_state_dict.point.weight', ['EMAHook']),
        (spoil_momentum, 'optimizer.state.1.momentum_buffer', []),
        (spoil_averages, 'state_dict.point.bias', ['EMAHook']),
    ],
)
def test_broken_weights_are_not_saved(spoil, key, hooks, tmp_path):
    """The loss of the last iteration of an epoch is finite, the update that follows is not."""
    hooks = [dict(type=name) for name in hooks]
    when = 'LOW' if spoil is spoil_weight_late else 'ABOVE_NORMAL'  # EMAHook has NORMAL
    run = point_runner(tmp_path, At(4, spoil, when), custom_hooks=hooks)
    with pytest.raises(DivergedError) as stop:
        run.train()
    kept = str(tmp_path / 'epoch_1.pth')
    assert str(stop.value).startswith(
        f'{key} holds NaN or infinite values after iteration 4, which was not saved, at a '
    )
    assert f'The last good checkpoint is {kept}: ' in str(stop.value)
    assert stop.value.iteration == 4
    assert (tmp_path / 'last_checkpoint').read_text() == kept
    assert [path.name for path in tmp_path.glob('*.pth*')] == ['epoch_1.pth']
    resumed = point_runner(tmp_path, resume=True, load_from=kept, custom_hooks=hooks)
    resumed.train()
    assert resumed.epoch == 3
    # A mask may be infinite.
    assert torch.load(tmp_path / 'epoch_3.pth', weights_only=True)['state_dict']['mask'].isinf()[1]


def test_checkpoint_of_another_run_is_not_offered(tmp_path):
    """The folder holds a checkpoint, but this run, which started over, wrote none."""
    point_runner(tmp_path, epochs=1).train()
    with pytest.raises(DivergedError, match='No checkpoint was written yet'):
        point_runner(tmp_path, At(2, spoil_weight)).train()
    with pytest.raises(DivergedError, match='last good checkpoint is .*epoch_1.pth'):
        point_runner(
            tmp_path, At(4, spoil_weight), resume=True, load_from=str(tmp_path / 'epoch_1.pth')
        ).train()


def test_errors_that_broken_weights_raise(tmp_path):
    """A model may fail before it has a loss; bugs in healthy models keep their traceback."""
    run = point_runner(tmp_path)
    run.train()
    bug = ValueError('matrix contains invalid numeric entries')
    with pytest.raises(ValueError, match='matrix') as raised, as_diverged_errors(run):
        raise bug
    assert raised.value is bug
    with pytest.raises(DivergedError, match='iteration 7 .*bbox become infinite or NaN.* 0.1: low'):
        with as_diverged_errors(run):
            raise AssertionError('bbox become infinite or NaN!')
    spoil_statistics(run)
    with pytest.raises(DivergedError, match='matrix.*; norm.running_var holds NaN .*epoch_3.pth'):
        with as_diverged_errors(run):
            raise bug


def test_hooks_of_every_run(folder, monkeypatch):
    """A foreign configuration gets the hooks, one of ours has them, and None switches one off."""
    monkeypatch.chdir(folder)
    cfg = load_config('classifier.py')
    use_own_hooks(cfg)
    assert {hook.type for hook in cfg.default_hooks.values()} == {
        'AtomicCheckpointHook',
        'InvalidLossHook',
        'ResumeLRHook',
    }
    own = load_config(str(write_classifier(folder, name='own.py')))
    before = own.pretty_text
    use_own_hooks(own)
    assert own.pretty_text == before

    off = load_config('own.py', {'default_hooks.invalid_loss': None})
    use_own_hooks(off)
    drop_disabled_hooks(off)
    assert 'invalid_loss' not in off.default_hooks and 'resume_lr' in off.default_hooks


def _tell(rank, texts, folder, answers):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=len(texts)
    )
    answers.put([_first_told(None), _first_told(texts[rank])])


@pytest.mark.parametrize('texts', [(None, 'bad'), ('bad', None)])
def test_processes_stop_together(texts, tmp_path):
    context = multiprocessing.get_context('fork')
    answers = context.SimpleQueue()
    processes = [
        context.Process(target=_tell, args=(rank, texts, tmp_path, answers)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [answers.get() for _ in processes] == [[None, 'bad']] * 2
