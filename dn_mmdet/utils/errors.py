"""Errors for people: one sentence instead of a traceback.

This module needs only the standard library, so that a tool can report a missing dependency.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .processes import end_with_launcher

__all__ = ['UserError', 'is_port_taken', 'launched_rank', 'missing_package', 'user_errors']

OPENMMLAB = ('mmengine', 'mmcv', 'mmdet')

# Import name to what pip installs, where that is another name.
REQUIREMENTS = {
    'PIL': 'pillow',
    'cv2': 'opencv-python',
    'pkg_resources': '"setuptools<82"',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
}


# Seconds in which a process ends that has told its error.
PATIENCE = 10


class UserError(Exception):
    """A mistake that the user can fix.

    Args:
        message (str): One or two plain sentences: what is wrong, where (file, key, image), and
            what to do about it.
    """


@contextmanager
def user_errors() -> Iterator[None]:
    """Wrap the body of a command-line tool.

    A :class:`UserError` is printed to stderr as ``error: <message>`` and ends the process with
    status 1. A ``KeyboardInterrupt`` ends it with status 130 and one line, which carries the
    exception's own message if it has one (code that knows how to resume raises
    ``KeyboardInterrupt('resume with ...')``). A package that is not installed is named with what
    installs it. Every other exception is a bug and keeps its traceback. In a distributed run rank 0
    speaks for all: the other ranks end with the same status and print nothing. The process ends
    with that which started it, where this was a tool too.

    Example:
        >>> with user_errors():
        ...     train(**vars(parse_args()))
    """
    end_with_launcher()
    try:
        yield
    except UserError as error:
        _leave(f'error: {error}', status=1)
    except ModuleNotFoundError as error:
        sentence = missing_package(error.name)
        if not sentence:
            raise
        _leave(f'error: {sentence}', status=1)
    except KeyboardInterrupt as interrupt:
        hint = str(interrupt)
        _leave(f'interrupted: {hint}' if hint else 'interrupted', status=130)


def missing_package(name: str | None) -> str:
    """What to do about a package that cannot be found.

    Args:
        name (str, optional): As the ``ModuleNotFoundError`` has it.

    Returns:
        str: A sentence; '' where a module is missing from a package that is there, which is a bug.
    """
    if not name or '.' in name or name == 'dn_mmdet':
        return ''
    if name in OPENMMLAB:
        remedy = (
            'this needs mmengine, mmcv and mmdet, which `pip install --no-build-isolation '
            '"dn_mmdet[mmdet]"` installs once torch is there'
        )
    else:
        remedy = f'run `pip install {REQUIREMENTS.get(name, name)}`'
    return f'the package {name} is not installed in {sys.prefix}: {remedy}.'


def launched_rank() -> int:
    """Rank of this process, from the variables that torchrun, Slurm or Open MPI set; else 0."""
    # An sbatch shell sets SLURM_PROCID too, to 0, so a run of one process speaks as well.
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0


def _leave(line: str, status: int) -> None:
    rank = launched_rank()
    if rank and status == 1:
        # The launcher ends all processes as soon as one has ended: let the first one speak. It
        # does not where the mistake is in this one's part of the data.
        time.sleep(PATIENCE)
        line = f'{line} (process {rank} of the run)'
    if not rank or status == 1:
        sys.stdout.flush()
        print(line, file=sys.stderr, flush=True)
    # SystemExit, not os._exit: worker processes and open files are still to be closed.
    raise SystemExit(status) from None


def is_port_taken(error: RuntimeError) -> bool:
    """Whether torch could not listen on a port; before 2.3 its words alone say so."""
    return 'address already in use' in str(error).lower()
