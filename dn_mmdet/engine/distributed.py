"""Starting a distributed run, on GPUs or, with gloo, on CPU, and ending it as one."""

import os
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict
from mmengine.dist import broadcast_object_list, init_dist
from mmengine.utils.dl_utils import set_multi_processing

from ..utils.errors import UserError, launched_rank

__all__ = ['launched_processes', 'on_rank_zero', 'start_process_group', 'use_cpu_model_wrapper']

T = TypeVar('T')
# Launcher to the variable in which it says how many processes it started.
SIZES = {'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS', 'mpi': 'OMPI_COMM_WORLD_SIZE'}


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
    _check_devices(cfg['launcher'])
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
    number = os.environ.get(SIZES.get(launcher, ''), '')
    return max(int(number), 1) if number.isdigit() else 1


def start_process_group(cfg: Config) -> None:
    """Start the process group before the Runner does, with gloo where there is no GPU.

    mmengine's own start calls ``torch.cuda.set_device`` and so needs a GPU.

    Args:
        cfg (Config): Has ``launcher`` and ``env_cfg``.

    Raises:
        UserError: Without a GPU, for a launcher other than torchrun.
    """
    if dist.is_initialized():
        return
    env = cfg.get('env_cfg') or {}
    # As in Runner.setup_env, and before init_dist, which would choose 'spawn' for the workers.
    set_multi_processing(**env.get('mp_cfg', {}), distributed=True)
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **env.get('dist_cfg', {'backend': 'nccl'}))
        return
    if cfg.launcher != 'pytorch':
        raise UserError(
            f'without a GPU the launcher {cfg.launcher} is not supported: use '
            'tools/dist_train.sh or tools/dist_test.sh.'
        )
    # mmengine's own argument; torch renamed it.
    warnings.filterwarnings('ignore', message='`broadcast_buffers` is deprecated')
    dist.init_process_group('gloo')


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


def _check_devices(launcher: str) -> None:
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch is for processes that torchrun started: use '
            'tools/dist_train.sh CONFIG GPUS or tools/dist_test.sh CONFIG CHECKPOINT '
            'GPUS, or leave the option out.'
        )
    wanted = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    if torch.cuda.is_available() and wanted > torch.cuda.device_count():
        raise UserError(
            f'{wanted} GPUs were requested, but this machine has '
            f'{torch.cuda.device_count()}: request fewer, or run on CPU with '
            'CUDA_VISIBLE_DEVICES=-1.'
        )
