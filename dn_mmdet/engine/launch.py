"""Starting the processes of a distributed run: torchrun, with its environment as in mmdet.

``python -m dn_mmdet.engine.launch PROCESSES SCRIPT [arguments]``. When a process fails, torchrun
adds a traceback of itself to what the process said; here the process alone speaks, and the exit
status is its own.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from ..utils.errors import UserError, is_port_taken, user_errors
from ..utils.processes import LAUNCHER

__all__ = ['launch']


def launch(processes: str, command: Sequence[str]) -> int:
    """Run a script in several processes, on one machine or as its part of several.

    The environment variables NNODES, NODE_RANK, MASTER_ADDR and PORT are those of mmdet's
    scripts. Without PORT a single machine takes a free one.

    Args:
        processes (str): Number of processes on this machine, one for each GPU.
        command (Sequence[str]): A Python script and its arguments.

    Returns:
        int: 0, or the exit status of the process that failed first, or 128 plus the number of
        the signal that ended the run.

    Raises:
        UserError: ``processes`` or one of the variables is not what it must be, or the port is
            taken.
    """
    _check_number('the number of GPUs', processes, 1)
    args = parse_args([f'--nproc-per-node={processes}', *_rendezvous(os.environ), *command])
    if not torch.cuda.is_available():
        # On CPU the processes share the cores; with GPUs torchrun's own choice of 1 is right.
        threads = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault('OMP_NUM_THREADS', str(threads))
        os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    # That torchrun ends processes and sets OMP_NUM_THREADS tells a user nothing new.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        run(args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode
        print(
            f'error: the process of rank {rank} was killed by signal {-failure.exitcode}; '
            'signal 9 often means that the memory was full: use a smaller batch or fewer '
            'workers.',
            file=sys.stderr,
        )
        return 128 - failure.exitcode
    except RuntimeError as error:
        if not is_port_taken(error):
            raise
        raise UserError(
            f'the port {args.master_port} of this machine is taken, perhaps by another run: set '
            'PORT to another one, the same on all machines.'
        ) from None
    except SignalException as error:
        return 128 + error.sigval
    finally:
        logging.disable(disabled)
        del os.environ[LAUNCHER]
    return 0


def _rendezvous(environ: Mapping[str, str]) -> list[str]:
    nodes, port = environ.get('NNODES', '1'), environ.get('PORT')
    _check_number('NNODES, the number of machines,', nodes, 1)
    if port is not None:
        _check_number('PORT', port, 1, 65535)
    node, address = environ.get('NODE_RANK'), environ.get('MASTER_ADDR')
    if node is not None or int(nodes) > 1:
        if int(nodes) > 1 and not address:
            raise UserError(
                f'NNODES is {nodes}, but MASTER_ADDR is not set: set it on all machines to the '
                'address of the first, whose NODE_RANK is 0.'
            )
        what = f'NODE_RANK, which numbers the machines (NNODES is {nodes}),'
        _check_number(what, node, 0, int(nodes) - 1)
    if int(nodes) == 1 and port is None:
        return ['--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:0', '--local-addr=127.0.0.1']
    if int(nodes) > 1:
        _check_address(address)
    return [
        f'--nnodes={nodes}',
        f'--node-rank={node or 0}',
        f'--master-addr={address or "127.0.0.1"}',
        f'--master-port={port or 29500}',
    ]


def _check_address(address: str) -> None:
    # torchrun looks for it for a quarter of an hour, with a warning for each time.
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f'MASTER_ADDR is {address!r}, which this machine does not find ({error}): give the '
            'name or IP address of the first machine, without a port.'
        ) from None


def _check_number(name: str, text: str | None, low: int, high: int | None = None) -> None:
    if text and text.isdecimal() and low <= int(text) and (high is None or int(text) <= high):
        return
    wanted = f'an integer of at least {low}' if high is None else f'from {low} to {high}'
    found = 'is not set' if text is None else f'is {text!r}'
    raise UserError(f'{name} must be {wanted}, but it {found}.')


if __name__ == '__main__':
    with user_errors():
        sys.exit(launch(sys.argv[1], sys.argv[2:]))
