"""A CheckpointHook that never leaves a run without a whole checkpoint."""

from __future__ import annotations

import math
import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import get_file_backend
from mmengine.fileio.backends import BaseStorageBackend, LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...utils.errors import UserError
from ...utils.files import remove_leftovers, write_text
from ...utils.python39 import zip_strict
from .divergence import diverged, non_finite_key, trained_keys

__all__ = ['AtomicCheckpointHook']

# Of a run that was told to stop.
INTERRUPTED = 'interrupted.pth'


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save checkpoints as mmengine's ``CheckpointHook`` does, safe against a kill at any moment.

    Five things differ. Checkpoints and ``last_checkpoint``, the file that ``--resume`` reads,
    are written under a temporary name and renamed. A checkpoint that ``max_keep_ckpts`` or a new
    best one makes superfluous is removed after its successor is written, not before.
    ``last_checkpoint`` is written after the checkpoint that it names. And weights, running
    statistics or an optimizer's state that are NaN or infinite are not written at all: the loss
    may have been finite until the very last update, and what is good is the checkpoints before.
    A metric that is -1, COCO's "nothing to evaluate", or not finite is never that of a best one.

    The arguments are those of :class:`mmengine.hooks.CheckpointHook`. With ``backend_args`` or
    ``file_client_args`` given, or a remote ``out_dir``, writing is left to that storage.
    """

    def before_train(self, runner: Runner) -> None:
        """Choose the atomic backend for a local folder, then as in mmengine."""
        out_dir = runner.work_dir if self.out_dir is None else str(self.out_dir)
        chosen = self.backend_args is not None or self.file_client_args is not None
        if not chosen and isinstance(get_file_backend(out_dir), LocalBackend):
            self.backend_args = {'backend': 'atomic'}
        super().before_train(runner)
        if self.backend_args == {'backend': 'atomic'} and is_main_process():
            remove_leftovers(self.out_dir, '.pth')
        resumed = runner._load_from if runner._resume else None
        # Where there is one, mmengine saves anew behind an evaluation that is the best so far.
        self.last_ckpt = resumed
        # Not to be resumed, since a checkpoint cannot know that it was written to the end.
        _set_kept(runner, resumed)
        self._saved = (runner.epoch, runner.iter) if runner._resume else None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Leave out the names of what a run does not hand on, of which mmengine would warn."""
        if runner._resume and isinstance(hub := checkpoint.get('message_hub'), dict):
            hub['resumed_keys'] = {key: True for key, kept in hub['resumed_keys'].items() if kept}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at what will be written, behind EMAHook, which swaps its averages in.

        Raises:
            DivergedError: It is not finite; files are as they were.
        """
        names = trained_keys(runner)
        averages = checkpoint.get('ema_state_dict', {})
        parts = {
            'state_dict': {key: checkpoint['state_dict'].get(key) for key in names},
            'ema_state_dict': {key: averages.get(f'module.{key}') for key in names},
            'optimizer': checkpoint.get('optimizer', {}),
        }
        if (bad := non_finite_key(parts)) is not None:
            iteration = checkpoint['meta']['iter']
            raise diverged(
                runner,
                f'{bad} holds NaN or infinite values after iteration '
                f'{iteration}, which was not saved',
                iteration,
                updates=iteration,
            )

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        expired = self._expire(runner, step)
        self._write(runner, self.filename_tmpl.format(step), meta)
        if not is_main_process():
            return
        for name in (expired, INTERRUPTED):
            if name is not None:
                _remove(self.file_backend, self.file_backend.join_path(self.out_dir, name))

    def save_interrupted(self, runner: Runner, iteration: int) -> None:
        """Write where a run is that ends before its time, as 'interrupted.pth'.

        The next checkpoint takes its place. One that already has the same updates is enough.

        Args:
            runner (Runner): Of the run.
            iteration (int): How many updates were made.
        """
        if self._saved != (runner.epoch, iteration):
            self._write(runner, INTERRUPTED, dict(epoch=runner.epoch, iter=iteration))

    def _write(self, runner: Runner, name: str, meta: dict) -> None:
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        _set_kept(runner, self.last_ckpt)
        self._saved = meta['epoch'], meta['iter']
        if is_main_process():
            write_text(osp.join(runner.work_dir, 'last_checkpoint'), self.last_ckpt)

    def _expire(self, runner: Runner, step: int) -> str | None:
        """Note ``step`` as kept; return the name of the checkpoint whose place it takes.

        The list is part of the checkpoint, so it must be up to date before the saving.
        """
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return None
        full = len(self.keep_ckpt_ids) == self.max_keep_ckpts
        expired = self.filename_tmpl.format(self.keep_ckpt_ids.popleft()) if full else None
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return expired

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self.save_best:
            return
        if 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])  # as mmengine does
        with self._removals_at_the_end():
            super()._save_best_checkpoint(runner, self._comparable(runner, metrics))

    def _comparable(self, runner: Runner, metrics: dict) -> dict:
        """The metrics, where one that says nothing is the worst of its kind."""
        for key, rule in zip_strict(self.key_indicators, self.rules):
            if key not in metrics:
                raise UserError(
                    f'default_hooks.checkpoint.save_best names {key!r}, which the evaluation does '
                    f'not give: choose among {", ".join(metrics)}.'
                )
            value = metrics[key]
            if _says_nothing(value):
                runner.logger.warning(
                    f'{key} is {value}{", that is: nothing to evaluate" if value == -1 else ""}: '
                    'the checkpoint is not kept as the best.'
                )
                metrics = {**metrics, key: self.init_value_map[rule]}
        return metrics

    @contextmanager
    def _removals_at_the_end(self) -> Iterator[None]:
        """Put off what mmengine removes before it writes the new best checkpoint."""
        backend, self.file_backend = self.file_backend, _LateRemoval(self.file_backend)
        late = self.file_backend
        try:
            yield
        finally:
            self.file_backend = backend
        best = [
            getattr(self, 'best_ckpt_path', None),
            *getattr(self, 'best_ckpt_path_dict', {}).values(),
        ]
        for path in late.removals:
            if path not in best:  # an epoch evaluated twice has written the same name again
                _remove(backend, path)


class _LateRemoval:
    """A file backend that only notes what it is to remove."""

    def __init__(self, backend: BaseStorageBackend) -> None:
        self._backend = backend
        self.removals: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.removals.append(path)

    rmtree = remove


def _says_nothing(value: Any) -> bool:
    """Whether a metric is COCOeval's -1, for nothing to evaluate, or not finite."""
    try:
        return value == -1 or not math.isfinite(value)
    except TypeError:  # no number, so mmengine compares it
        return False


def _set_kept(runner: Runner, path: str | None) -> None:
    runner.message_hub.update_info('kept_ckpt', path, resumed=False)


def _remove(backend: BaseStorageBackend, path: str) -> None:
    if backend.isfile(path):
        backend.remove(path)
    elif backend.isdir(path):  # deepspeed saves folders
        backend.rmtree(path)
