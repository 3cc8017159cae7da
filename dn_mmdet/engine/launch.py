"""Starting the processes of a distributed run: torchrun, with its environment as in mmdet.

``python -m dn_mmdet.engine.launch PROCESSES SCRIPT [arguments]``. When a process fails, torchrun
adds a traceback of itself to what the process said; here the process alone speaks, and the exit
status is its own.
"""

import logging
import os
import sys
from collections.abc import Mapping, Sequence

import torch
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from ..utils.errors import UserError, user_errors

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
        UserError: ``processes`` is not a positive integer.
    """
    if not processes.isdigit() or int(processes) < 1:
        raise UserError(f'the number of GPUs must be a positive integer, but it is {processes!r}.')
    args = parse_args([f'--nproc-per-node={processes}', *_rendezvous(os.environ), *command])
    if not torch.cuda.is_available():
        # On CPU the processes share the cores; with GPUs torchrun's own choice of 1 is right.
        threads = max(1, (os.cpu_count() or 1) // int(processes))
        os.environ.setdefault('OMP_NUM_THREADS', str(threads))
        os.environ.setdefault('MKL_NUM_THREADS', os.environ['OMP_NUM_THREADS'])
    # That torchrun ends processes and sets OMP_NUM_THREADS tells a user nothing new.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
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
    except SignalException as error:
        return 128 + error.sigval
    finally:
        logging.disable(disabled)
    return 0


def _rendezvous(environ: Mapping[str, str]) -> list[str]:
    nodes, port = environ.get('NNODES', '1'), environ.get('PORT')
    if nodes == '1' and port is None:
        return ['--rdzv-backend=c10d', '--rdzv-endpoint=127.0.0.1:0', '--local-addr=127.0.0.1']
    return [
        f'--nnodes={nodes}',
        f'--node-rank={environ.get("NODE_RANK", "0")}',
        f'--master-addr={environ.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master-port={port or 29500}',
    ]


if __name__ == '__main__':
    with user_errors():
        sys.exit(launch(sys.argv[1], sys.argv[2:]))
