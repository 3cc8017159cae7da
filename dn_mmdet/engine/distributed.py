"""Starting a distributed run, on GPUs or, with gloo, on CPU, and ending it as one."""

from __future__ import annotations

import os
import re
import subprocess
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.dist import all_reduce, broadcast_object_list, get_world_size, init_dist
from mmengine.utils.dl_utils import set_multi_processing
from torch.distributed.rendezvous import rendezvous

from ..utils.errors import UserError, is_port_taken, launched_rank
from ..utils.processes import end_with_parent
from ..utils.python39 import zip_strict

__all__ = [
    'any_process',
    'launched_processes',
    'on_rank_zero',
    'start_process_group',
    'use_cpu_model_wrapper',
]

T = TypeVar('T')


class Variables(NamedTuple):
    """Names of the environment variables in which a launcher tells a process about the run."""

    rank: str
    size: str
    local_rank: str
    local_size: str


LAUNCHERS = {
    'pytorch': Variables('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE'),
    'slurm': Variables('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', 'SLURM_NTASKS_PER_NODE'),
    'mpi': Variables(
        *(f'OMPI_COMM_WORLD_{name}' for name in ('RANK', 'SIZE', 'LOCAL_RANK', 'LOCAL_SIZE'))
    ),
}
STARTS = {
    'pytorch': 'torchrun started: use tools/dist_train.sh CONFIG GPUS or tools/dist_test.sh '
    'CONFIG CHECKPOINT GPUS',
    'slurm': 'srun started: use tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR or '
    'tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT',
    'mpi': 'mpirun of Open MPI started: use it',
}


def any_process(told: bool) -> bool:
    """Whether it is so in any process of the run, in every process, for an all-reduce of a number.

    Args:
        told (bool): In this process.
    """
    if get_world_size() == 1:
        return told
    number = torch.tensor([float(told)])
    all_reduce(number, op='max')
    return bool(number.item())


def on_rank_zero(cfg: Config, function: Callable[[], T]) -> T:
    """Call a function in the first process alone and give all processes its result.

    The process group starts after the call, so that the others wait for it where waiting is
    expected. Without a launcher it is a plain call.

    Args:
        cfg (Config): Has ``launcher`` and ``env_cfg``.
        function (Callable[[], T]): Returns something that can be pickled.

    Returns:
        T: What the function returned.

    Raises:
        UserError: In every process, if the function raised it in the first.
    """
    if cfg.get('launcher', 'none') == 'none':
        return function()
    _check_launch(cfg['launcher'])
    outcome: list = [None, None]
    if launched_rank() == 0:
        try:
            outcome[0] = function()
        except UserError as error:
            outcome[1] = error
    start_process_group(cfg)
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def launched_processes(launcher: str) -> int:
    """How many processes a launcher started, as known before they have met.

    Args:
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        int: 1 where it does not say.
    """
    return _number(LAUNCHERS[launcher].size) if launcher in LAUNCHERS else 1


def start_process_group(cfg: Config) -> None:
    """Start the process group before the Runner does, with gloo where there is no GPU.

    mmengine's own start calls ``torch.cuda.set_device`` and so needs a GPU.

    Args:
        cfg (Config): Has ``launcher`` and ``env_cfg``.

    Raises:
        UserError: It is not known where the first process is, or its port is taken.
    """
    if dist.is_initialized():
        return
    env = cfg.get('env_cfg') or {}
    # As in Runner.setup_env, and before init_dist, which would choose 'spawn' for the workers.
    set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
    settings = dict(env.get('dist_cfg', {'backend': 'nccl'}))
    _set_torchrun_variables(cfg.launcher, settings.get('port'))
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        # It ends what it started, unless it is killed itself.
        end_with_parent()
    seconds = settings.get('timeout')
    options = {} if seconds is None else {'timeout': timedelta(seconds=seconds)}
    try:
        own = settings.get('init_backend', 'torch') == 'torch'
        store = _store_of_attempt(options) if own else {}
        if torch.cuda.is_available():
            init_dist(cfg.launcher, **settings, **store)
        else:
            # mmengine's own argument; torch renamed it.
            warnings.filterwarnings('ignore', message='`broadcast_buffers` is deprecated')
            dist.init_process_group('gloo', **options, **store)
    except RuntimeError as error:
        if not is_port_taken(error):
            raise
        raise UserError(
            f'the port {os.environ["MASTER_PORT"]} of this machine is taken, perhaps by another '
            'run: set MASTER_PORT to another one.'
        ) from None


def use_cpu_model_wrapper(cfg: Config) -> None:
    """Make the Runner wrap the model without a device, as DistributedDataParallel wants on CPU.

    Args:
        cfg (Config): Changed in place where there is a launcher and no GPU.
    """
    if cfg.get('launcher', 'none') == 'none' or torch.cuda.is_available():
        return
    # Not a plain dict, which would turn what a configuration in pure Python imports into classes.
    wrapper = ConfigDict(
        cfg.get('model_wrapper_cfg')
        or {
            'type': 'MMDistributedDataParallel',
            'broadcast_buffers': False,
            'find_unused_parameters': cfg.get('find_unused_parameters', False),
        }
    )
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper


def _check_launch(launcher: str) -> None:
    variables = LAUNCHERS[launcher]
    if variables.rank not in os.environ:
        raise UserError(
            f'--launcher {launcher} is for processes that {STARTS[launcher]}, or leave the '
            'option out.'
        )
    wanted = _number(variables.local_size)
    if torch.cuda.is_available() and wanted > torch.cuda.device_count():
        raise UserError(
            f'{wanted} GPUs were requested, but this machine has '
            f'{torch.cuda.device_count()}: request fewer, or run on CPU with '
            'CUDA_VISIBLE_DEVICES=-1.'
        )


def _number(variable: str) -> int:
    text = os.environ.get(variable, '')
    return max(int(text), 1) if text.isdigit() else 1


def _store_of_attempt(options: dict) -> dict:
    """Where torchrun has begun anew: what its store has without what earlier processes left there.

    Their addresses, above all: torch means to take another store each time, and does not.
    """
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    # Several machines may not count alike.
    if attempt == '0' or os.environ.get('GROUP_WORLD_SIZE') != '1':
        return {}
    store, rank, size = next(rendezvous('env://', **options))
    return dict(store=dist.PrefixStore(f'attempt_{attempt}', store), rank=rank, world_size=size)


def _set_torchrun_variables(launcher: str, port: int | None) -> None:
    """Say as torchrun does what another launcher says in variables of its own."""
    if launcher == 'pytorch':
        return
    # mmengine does this too, but on a GPU alone, and with one port for all runs of a machine.
    for torchrun, own in zip_strict(LAUNCHERS['pytorch'], LAUNCHERS[launcher]):
        if own in os.environ:
            os.environ[torchrun] = os.environ[own]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    if launcher == 'slurm':
        job, step = (int(os.environ.get(f'SLURM_{name}_ID', 0)) for name in ('JOB', 'STEP'))
        os.environ.setdefault('MASTER_PORT', str(10000 + (16 * job + step) % 20000))
        if 'MASTER_ADDR' not in os.environ:
            os.environ['MASTER_ADDR'] = _first_machine()
    elif 'MASTER_ADDR' not in os.environ:
        raise UserError(
            f'--launcher {launcher} needs the environment variable MASTER_ADDR, the address of '
            'the machine with the first process: set it to that (one machine: 127.0.0.1).'
        )
    os.environ.setdefault('MASTER_PORT', '29500')


def _first_machine() -> str:
    # The machines of this step may be some of the job's.
    machines = os.environ.get('SLURM_STEP_NODELIST') or os.environ.get('SLURM_NODELIST', '')
    if machines and not re.search(r'[\[,]', machines):
        return machines
    try:
        return subprocess.run(
            ['scontrol', 'show', 'hostnames', machines], capture_output=True, text=True, check=True
        ).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        raise UserError(
            f'scontrol could not tell which machine is the first of {machines!r}: set '
            'MASTER_ADDR to its name.'
        ) from None
