"""What a run meets outside its own code, in a sentence: the configuration, data, disk, machine."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pickle import UnpicklingError
from traceback import walk_tb

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process

from ..utils.errors import UserError
from .checkpoint_file import refusal
from .preflight.registries import config_mistakes

__all__ = ['as_user_errors']

FEWER = 'set a smaller num_workers in the data loaders of the configuration'

KILLED = (
    f'a data loader process was killed, which happens where memory runs out: {FEWER}, or a '
    'smaller batch_size'
)

# What torch says of worker processes, and what it means.
WORKERS = {
    r'signal: Bus error|shared memory|</torch_': (
        'the data loaders ran out of shared memory: enlarge /dev/shm (in Docker with '
        f'--shm-size=8g), or {FEWER}'
    ),
    r'Too many open files|received 0 items of ancdata': (
        f'too many files are open: raise the limit with ulimit -n 65536, or {FEWER}'
    ),
    r'DataLoader worker .* signal: Killed': KILLED,
    r'DataLoader worker .* (is killed by signal|exited unexpectedly)': (
        'a data loader process ended without a word: num_workers=0 with '
        'persistent_workers=False in the data loaders shows what ends it'
    ),
}
# What gloo and NCCL say of the other processes of a run.
OTHERS = {
    r'Connection (closed|reset) by peer|Broken pipe|remote process (exited|has terminated)': (
        'another process of this run ended or was killed; what it said, if anything, stands '
        'above. The same command with --resume continues from the last checkpoint'
    ),
    r'Timed out waiting \d+ms|Watchdog caught collective operation timeout|wait timeout after': (
        'another process of this run has not answered for longer than '
        'env_cfg.dist_cfg.timeout (seconds): it hangs, or its machine cannot be reached. The '
        'same command with --resume continues from the last checkpoint'
    ),
}


@contextmanager
def as_user_errors(cfg: Config) -> Iterator[None]:
    """Turn what a run meets outside its own code into a :class:`UserError`; bugs pass unchanged.

    Args:
        cfg (Config): Of the run, for the message.

    Raises:
        UserError: The configuration is wrong, a checkpoint would run code, an image does not load,
            a process that loads data or another one of the run ended or hangs, a norm layer has
            one value to compute statistics from, or the disk is full or closed.
    """
    try:
        with config_mistakes(cfg):
            yield
        _tidy_up()
    except UserError as error:
        # All that a worker process hands over of an exception is its class and its traceback.
        raised = f'{UserError.__module__}.{UserError.__qualname__}: '
        if ' in DataLoader worker process ' not in str(error) or raised not in str(error):
            raise
        raise UserError(str(error).rpartition(raised)[2].strip()) from error
    except AssertionError as error:
        image = re.search(r'failed to load image: (.+)', str(error))
        if image is None:
            raise
        raise UserError(
            f'{image[1]} cannot be loaded as an image: it is damaged, or of a format that is not '
            'decoded. Replace it, or remove it from the annotations.'
        ) from error
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
    except RuntimeError as error:
        sentence = _worker_sentence(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    except (ConnectionError, EOFError) as error:
        if not _in_loader(error):
            raise
        # It was ended while it handed a batch over, before torch could know.
        raise UserError(f'{KILLED}.') from error
    except OSError as error:
        sentence = _worker_sentence(error)
        if sentence is not None:
            raise UserError(sentence) from error
        path = error.filename or cfg.work_dir
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise UserError(
                f'no disk space is left to write {path}: free some, then continue with --resume.'
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise UserError(
                f'{path} cannot be written or read ({error.strerror}): correct its '
                'permissions, or choose another folder with --work-dir.'
            ) from error
        raise


def _worker_sentence(error: BaseException) -> str | None:
    """What to tell of another process that ended, or could not hand over what it has."""
    text = f'{error} {error.__cause__ or ""}'
    causes = WORKERS | (OTHERS if get_world_size() > 1 else {})
    return next((f'{what}.' for found, what in causes.items() if re.search(found, text)), None)


def _in_loader(error: BaseException) -> bool:
    """Whether an error came up where a data loader takes what its processes have."""
    return any(frame.f_code.co_name == '_try_get_data' for frame, _ in walk_tb(error.__traceback__))


def _tidy_up() -> None:
    # mmengine gathers the predictions of several processes through files in this folder.
    if is_main_process():
        with suppress(OSError):
            os.rmdir('.dist_test')
