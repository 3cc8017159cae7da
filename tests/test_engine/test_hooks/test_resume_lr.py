"""A run resumes at the learning rate of its configuration, its schedule in proportion."""

import pytest

from tests.helpers.point import Rates, point_runner

COSINE = dict(type='CosineAnnealingLR', T_max=4, by_epoch=True, convert_to_iter_based=True)
WARM_UP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3)
STEPS = dict(type='MultiStepLR', milestones=[1, 3], gamma=0.5)


def rates_of(work_dir, lr, epochs=4, **options):
    hook = Rates()
    options['optim_wrapper'] = dict(optimizer=dict(lr=lr), **options.pop('optim_wrapper', {}))
    point_runner(work_dir, hook, epochs=epochs, **options).train()
    return hook.rates


# Biases at twice the rate, in a group of their own.
@pytest.mark.parametrize(
    'scheduler, paramwise',
    [
        (None, None),
        (STEPS, None),
        ([WARM_UP, COSINE], None),
        ([WARM_UP, COSINE], dict(bias_lr_mult=2.0)),
    ],
    ids=['none', 'steps', 'warm-up and cosine', 'groups'],
)
def test_schedule_goes_on_in_proportion(scheduler, paramwise, tmp_path):
    options = dict(param_scheduler=scheduler, optim_wrapper=dict(paramwise_cfg=paramwise))
    whole = rates_of(tmp_path / 'whole', 0.1, **options)
    low = rates_of(tmp_path / 'low', 0.02, **options)
    # Ends after two epochs of a schedule of four.
    hook = Rates()
    _stop_after(
        point_runner(
            tmp_path,
            hook,
            optim_wrapper=dict(paramwise_cfg=paramwise),
            param_scheduler=scheduler,
            epochs=4,
        ),
        2,
    )
    assert hook.rates == whole[:4]
    for lr, expected in ((0.1, whole), (0.02, low)):
        resumed = rates_of(
            tmp_path / str(lr), lr, resume=True, load_from=str(tmp_path / 'epoch_2.pth'), **options
        )
        assert resumed == pytest.approx(expected[4:], rel=1e-12)


def test_the_log_says_so(tmp_path):
    rates_of(tmp_path, 0.1, epochs=1)
    run = point_runner(
        tmp_path,
        Rates(),
        epochs=2,
        resume=True,
        load_from=str(tmp_path / 'epoch_1.pth'),
        optim_wrapper=dict(optimizer=dict(lr=0.02)),
    )
    told = []
    run.logger.warning = told.append
    run.train()
    assert any('learning rate of its configuration, 0.02, instead of 0.1' in t for t in told)


def test_weights_alone_take_nothing_over(tmp_path):
    """`load_from` without resuming begins a new schedule."""
    rates_of(tmp_path, 0.1, epochs=1, param_scheduler=COSINE)
    rates = rates_of(
        tmp_path / 'new',
        0.02,
        epochs=1,
        param_scheduler=COSINE,
        load_from=str(tmp_path / 'epoch_1.pth'),
    )
    assert rates[0] == 0.02


def _stop_after(run, epochs):
    """Train, and stop between two epochs as an interrupt would."""

    class Stop(Exception):
        pass

    def stop(name, **kwargs):
        if name == 'before_train_epoch' and run.epoch == epochs:
            raise Stop
        return call_hook(name, **kwargs)

    call_hook, run.call_hook = run.call_hook, stop
    with pytest.raises(Stop):
        run.train()
