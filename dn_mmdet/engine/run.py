"""What training and testing have in common: the way from a configuration to a Runner."""

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pickle import UnpicklingError

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..utils.errors import UserError
from .atomic import use_atomic_writes
from .checkpoint_file import force_weights_only, refusal
from .distributed import use_cpu_model_wrapper
from .preflight.registries import config_mistakes

__all__ = [
    'as_user_errors',
    'build_runner',
    'drop_disabled_hooks',
    'prepare_process',
    'use_own_hooks',
]

# As in configs/_base_/default_runtime.py.
OWN_HOOKS = {'invalid_loss': 'InvalidLossHook', 'resume_lr': 'ResumeLRHook'}


def prepare_process() -> None:
    """Set what holds for the whole process; to be called before any tensor work.

    Checkpoints are loaded with ``weights_only``, files are written atomically, and on CPU
    denormal numbers count as zero: a network that collapsed is full of them, and they make it
    ten times slower. (The threads that torch starts later take that over from this one.)
    """
    force_weights_only()
    use_atomic_writes()
    if not torch.cuda.is_available():
        torch.set_flush_denormal(True)


def build_runner(cfg: Config, notes: list[str]) -> Runner:
    """Build the Runner of a configuration that passed the preflight.

    Args:
        cfg (Config): Changed in place, to what the Runner takes.
        notes (list[str]): What goes to the log.

    Returns:
        Runner: Ready to train or to test.
    """
    use_cpu_model_wrapper(cfg)
    drop_disabled_hooks(cfg)
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    for note in notes:
        runner.logger.info(note)
    return runner


@contextmanager
def as_user_errors(cfg: Config) -> Iterator[None]:
    """Turn what a run meets outside its own code into a :class:`UserError`; bugs pass unchanged.

    Args:
        cfg (Config): Of the run, for the message.

    Raises:
        UserError: The configuration is wrong, a checkpoint would run code, a norm layer has one
            value to compute statistics from, or the disk is full or closed.
    """
    try:
        with config_mistakes(cfg):
            yield
        _tidy_up()
    except UnpicklingError as error:
        sentence = refusal(error, '')
        if sentence is None:
            raise
        raise UserError(f'a checkpoint{sentence}') from error
    except ValueError as error:
        if not str(error).startswith('Expected more than 1 value per channel when training'):
            raise
        # As torch and this package's layers word it: batch statistics of a single value.
        raise UserError(
            f'{error}: a norm layer has only one value per channel to compute statistics from: a '
            'one-pixel map in a batch of one image. Use train_dataloader.batch_size=2 or more, and '
            'drop_last=True where the last batch may have one image.'
        ) from error
    except OSError as error:
        path = error.filename or cfg.work_dir
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f'no disk space is left to write {path}: free some, then continue with --resume.'
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(
                f'{path} cannot be written or read ({error.strerror}): correct its '
                'permissions, or choose another folder with --work-dir.'
            ) from error
        raise


def use_own_hooks(cfg: Config) -> None:
    """Give a configuration this package's default hooks where it does not choose for itself.

    Args:
        cfg (Config): Changed in place: ``CheckpointHook`` becomes ``AtomicCheckpointHook``, and
            the hooks of :data:`OWN_HOOKS` are added to ``default_hooks``. One that is None there
            stays off.
    """
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    hooks = cfg.default_hooks
    checkpoint = hooks.get('checkpoint')
    if isinstance(checkpoint, Mapping) and checkpoint.get('type') == 'CheckpointHook':
        checkpoint['type'] = 'AtomicCheckpointHook'
    for name, type_ in OWN_HOOKS.items():
        hooks.setdefault(name, ConfigDict(type=type_))


def drop_disabled_hooks(cfg: Config) -> None:
    """Remove own hooks that are None: mmengine allows that for its own default hooks alone."""
    for name in OWN_HOOKS:
        if name in (cfg.get('default_hooks') or {}) and cfg.default_hooks[name] is None:
            del cfg.default_hooks[name]


def _tidy_up() -> None:
    # mmengine gathers the predictions of several processes through files in this folder.
    if is_main_process():
        with suppress(OSError):
            os.rmdir('.dist_test')
