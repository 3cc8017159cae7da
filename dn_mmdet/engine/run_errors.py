"""What a run meets outside its own code, in a sentence: the configuration, data, disk, machine."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pickle import UnpicklingError

from mmengine.config import Config
from mmengine.dist import is_main_process

from ..utils.errors import UserError
from .checkpoint_file import refusal
from .preflight.registries import config_mistakes

__all__ = ['as_user_errors']


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


def _tidy_up() -> None:
    # mmengine gathers the predictions of several processes through files in this folder.
    if is_main_process():
        with suppress(OSError):
            os.rmdir('.dist_test')
