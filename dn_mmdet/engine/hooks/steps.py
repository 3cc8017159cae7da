"""Stopping a run that has no step to make, before it writes a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from ...utils.errors import UserError

__all__ = ['StepsHook', 'watched_steps']

# Others may begin again by themselves, and so be longer than they say.
FINITE = (DefaultSampler, RandomSampler, SequentialSampler)


class StepsHook(Hook):
    """Look at the number of steps once data sets and loaders are built, and training is resumed.

    The preflight has counted images where it knows the data set; here is the last word. mmengine
    would save "best" checkpoints of a model that was never trained, and, where a schedule is one
    in iterations, write the last checkpoint of a finished run again.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Look before any other hook writes something.

        Raises:
            UserError: There is nothing to train on or to evaluate.
        """
        loop = runner.train_loop
        _demand_batches(
            'train_dataloader', loop.dataloader, isinstance(loop, EpochBasedTrainLoop), 'train on'
        )
        if runner.val_loop is not None:
            _demand_batches('val_dataloader', runner.val_loop.dataloader, True, 'evaluate')


class _FinishedHook(Hook):
    """Ends a run that is resumed and finished, behind the evaluation of its last checkpoint."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Look at the number of steps.

        Raises:
            _NothingLeft: There are no more.
        """
        loop = runner.train_loop
        for kind, done, name in (
            (EpochBasedTrainLoop, 'epoch', 'max_epochs'),
            (IterBasedTrainLoop, 'iter', 'max_iters'),
        ):
            if isinstance(loop, kind) and getattr(loop, done) >= getattr(loop, name):
                raise _NothingLeft(
                    f'Nothing was trained: {runner._load_from} is of {done} {getattr(loop, done)}, '
                    f'and train_cfg.{name} is {getattr(loop, name)}. To train on, set a larger '
                    f'train_cfg.{name}.'
                )


@contextmanager
def watched_steps(runner: Runner) -> Iterator[None]:
    """Wrap training: a run without steps is refused, and one that is finished ends with a line.

    Args:
        runner (Runner): Of the run.

    Raises:
        UserError: There is nothing to train on or to evaluate.
    """
    runner.register_hook(StepsHook())
    runner.register_hook(_FinishedHook())
    try:
        yield
    except _NothingLeft as told:
        runner.call_hook('after_run')
        runner.logger.warning(str(told))
    except StopIteration as error:  # from a loader that the loop began again in vain
        raise UserError(_sentence('train_dataloader', len(runner.train_dataloader.dataset))) from (
            error
        )


class _NothingLeft(Exception):
    """The way out of a loop that would only call hooks."""


def _demand_batches(key: str, loader: DataLoader, ends: bool, what: str) -> None:
    try:
        images, batches = len(loader.dataset), len(loader)
    except TypeError:  # a stream has no length
        return
    if images == 0 or (batches == 0 and (ends or isinstance(loader.sampler, FINITE))):
        raise UserError(_sentence(key, images, what))


def _sentence(key: str, images: int, what: str = 'train on') -> str:
    return (
        f'there is nothing to {what}: {key}.dataset has {images} images, which make no batch. '
        f'Correct its annotations and filter_cfg, or set a smaller {key}.batch_size or '
        f'{key}.drop_last=False.'
    )
