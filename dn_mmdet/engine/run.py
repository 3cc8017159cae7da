"""What training and testing have in common: the way from a configuration to a Runner."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pickle import UnpicklingError

import torch
from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .atomic import use_atomic_writes
from .check_types import config_mistakes
from .default_hooks import drop_disabled_hooks
from .distributed import on_rank_zero, use_cpu_model_wrapper
from .errors import UserError
from .preflight import preflight
from .read_checkpoint import force_weights_only, refusal

__all__ = ['build_runner', 'prepare_process', 'told_in_a_sentence']


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


def check(cfg: Config, mode: str) -> list[str]:
    """Run the preflight in the first process and share its verdict; see :func:`preflight`."""
    return on_rank_zero(cfg, lambda: preflight(cfg, mode))


def build_runner(cfg: Config, notes: list[str]) -> Runner:
    """Build the Runner of a configuration that passed the preflight, and log its notes."""
    use_cpu_model_wrapper(cfg)
    drop_disabled_hooks(cfg)
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    for note in notes:
        runner.logger.info(note)
    return runner


def _tidy_up() -> None:
    # mmengine gathers the predictions of several processes through files in this folder.
    if is_main_process():
        with suppress(OSError):
            os.rmdir('.dist_test')


@contextmanager
def told_in_a_sentence(cfg: Config) -> Iterator[None]:
    """Turn what a run meets outside its own code into a :class:`UserError`."""
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
            f'{error}: a norm layer has one value per channel to take statistics of, a map of one '
            'pixel in a batch of one image. Use train_dataloader.batch_size=2 or more, and '
            'drop_last=True where the last batch may be of one image.'
        ) from error
    except OSError as error:
        path = error.filename or cfg.work_dir
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f'no space is left to write to {path}: free some, then continue with --resume.'
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(
                f'{path} cannot be written or read ({error.strerror}): correct its '
                'permissions, or choose another folder with --work-dir.'
            ) from error
        raise
