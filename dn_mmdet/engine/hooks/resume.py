"""A run that was killed goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import broadcast, get_rank, get_world_size
from mmengine.hooks import Hook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..checkpoint_file import meta_of, read_checkpoint
from ..replay import ReplayableLoader, make_replayable, seed_generators, seed_step

__all__ = ['exact_resume']


@contextmanager
def exact_resume(runner: Runner) -> Iterator[None]:
    """Wrap training, so that a resumed run ends where one that never stopped would have.

    Every batch and every step draws its random numbers anew from the seed and its number, see
    :mod:`dn_mmdet.engine.replay`, so a resumed run needs nothing but that number. It begins with
    the batch behind the last one that the checkpoint knows, also in the middle of an epoch, and
    with the evaluation that follows the checkpoint, whose end nobody knows of. Before an
    evaluation all processes take the buffers of the first, which a checkpoint has.

    Args:
        runner (Runner): Whose training loop is not built yet.
    """
    if runner._resume and runner._load_from:
        _keep_seed(runner)
    make_replayable(runner)
    if not (getattr(runner, '_train_loop', None) or {}).get('by_epoch', True):
        for hook in runner.hooks:
            if isinstance(hook, LoggerHook):
                # Or each evaluation would be logged as that of epoch 0.
                hook.log_metric_by_epoch = False
    runner.register_hook(_PlaceHook())
    runner.register_hook(_EvaluationHook())
    yield


def _keep_seed(runner: Runner) -> None:
    """Take over the run's seed, drawn or given; mmengine does when it has made the loaders."""
    seed = meta_of(read_checkpoint(runner._load_from, '--resume')).get('seed')
    if seed is None or seed == runner.seed:
        return
    if (given := runner._randomness_cfg.get('seed')) is not None:
        runner.logger.warning(f'The run continues with its seed {seed}, not {given}.')
    runner._randomness_cfg['seed'] = seed
    runner.set_randomness(**runner._randomness_cfg)


class _PlaceHook(Hook):
    """Seeds what is random in a step, and keeps where in an epoch a run is."""

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._batch = 0  # of the epoch, how many were trained on

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take over where the checkpoint stands."""
        if runner._resume:
            meta, batches = checkpoint['meta'], _length(runner)
            # The batches of this run may be others.
            self._batch = meta.get('batch', 0) * batches // max(meta.get('batches', batches), 1)

    def before_train(self, runner: Runner) -> None:
        """Have the loader pass over what was trained on."""
        if isinstance(runner.train_dataloader, ReplayableLoader):
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            # A loop that counts iterations asks for all of them again.
            runner.train_dataloader.skip = self._batch if by_epoch else runner.iter

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed the step."""
        seed_step(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count."""
        self._batch = batch_idx + 1

    def after_train_epoch(self, runner: Runner) -> None:
        """Count anew."""
        self._batch = 0

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note where the run is."""
        checkpoint['meta'].update(batch=self._batch, batches=_length(runner))


class _EvaluationHook(Hook):
    """Makes the evaluation that a checkpoint was written before, with what a checkpoint has."""

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Evaluate as the loop would have done behind the checkpoint."""
        loop = runner.train_loop
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        if not runner._resume or runner.val_loop is None or runner.iter == 0:
            return
        if not by_epoch and not isinstance(loop, IterBasedTrainLoop):
            return
        done, planned = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        within = by_epoch and getattr(loop.dataloader, 'skip', 0)
        loop._decide_current_val_interval()
        if (
            not within
            and done >= loop.val_begin
            and (done % loop.val_interval == 0 or done == planned)
        ):
            runner.logger.info(f'Evaluating {runner._load_from} before training goes on.')
            # What a checkpoint would hold that is saved behind this evaluation.
            runner.message_hub.update_info('iter', runner.iter - 1)
            if by_epoch:
                runner.message_hub.update_info('epoch', runner.epoch - 1)
            runner.val_loop.run()

    def before_val_epoch(self, runner: Runner) -> None:
        """Seed, and share the buffers."""
        seed_generators(runner.seed, get_rank(), 2, runner.iter)
        if get_world_size() > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer)


def _length(runner: Runner) -> int:
    """Batches in an epoch; 0 where they are not counted."""
    try:
        return len(runner.train_dataloader)
    except TypeError:  # a stream
        return 0
