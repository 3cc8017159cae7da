"""Training from a configuration file: what tools/train.py does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner import Runner

from ..utils.errors import UserError
from ..utils.versions import git_revision
from .amp import CPUAmpOptimWrapper
from .config import choose_resume, load_config
from .hooks.affine import warn_of_alpha
from .hooks.divergence import as_diverged_errors
from .hooks.interrupt import saved_at_interrupts
from .hooks.resume import exact_resume
from .hooks.steps import watched_steps
from .preflight import run_preflight
from .preflight.registries import config_scope, is_type
from .run import build_runner, prepare_process, use_own_hooks
from .run_errors import as_user_errors

__all__ = ['train']


def train(
    config: str,
    work_dir: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
) -> Runner:
    """Train the model of a configuration: any model that runs on mmengine's Runner.

    Configuration, checkpoints and data are checked before anything is written. The checkpoint
    hook is :class:`AtomicCheckpointHook` even if the configuration says ``CheckpointHook``, and
    ``default_hooks.invalid_loss`` and ``resume_lr`` are added; None turns them off. A run that is
    resumed ends where one that was never stopped does, bit for bit on a CPU; SIGINT and SIGTERM
    end it behind a step, with a checkpoint. Resuming a run that is finished makes its last
    evaluation again, trains nothing and says so.

    Args:
        config (str): The configuration file.
        work_dir (str, optional): Where logs and checkpoints go. Defaults to ``work_dir`` of the
            configuration, or else to ``work_dirs/<its name>``.
        amp (bool): Automatic mixed precision: float16 with a loss scale on a GPU, bfloat16 on
            CPU, where ``AmpOptimWrapper`` in a configuration means that too. Defaults to False.
        auto_scale_lr (bool): Scale the learning rate with the batch size, by ``auto_scale_lr`` of
            the configuration. Defaults to False.
        resume (str, optional): A checkpoint to continue from, or 'auto' for the latest in the
            work folder (from the start if there is none). Defaults to what the configuration says.
        cfg_options (Mapping, optional): Overrides, dotted key to value.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to 'none'.

    Returns:
        Runner: After training.

    Raises:
        UserError: A mistake in configuration, data or checkpoints.
        DivergedError: The loss or the weights are no longer finite.
        KeyboardInterrupt: The run was interrupted; the message says how to continue it.
    """
    prepare_process()
    cfg = load_config(config, cfg_options, work_dir, launcher)
    use_own_hooks(cfg)
    with config_scope(cfg):
        if amp or _is_wrapper(cfg, AmpOptimWrapper):
            _use_amp(cfg)
    if auto_scale_lr:
        _use_auto_scale_lr(cfg)
    notes = choose_resume(cfg, resume)
    try:
        notes += run_preflight(cfg, 'train')
        with as_user_errors(cfg):
            runner = build_runner(cfg, [*notes, f'git revision: {git_revision()}'])
            warn_of_alpha(runner)
            with (
                as_diverged_errors(runner),
                saved_at_interrupts(runner),  # before the evaluation of a resumed run
                exact_resume(runner),
                watched_steps(runner),
            ):
                runner.train()
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        raise KeyboardInterrupt(_how_to_continue(cfg)) from None
    return runner


def _is_wrapper(cfg: Config, *classes: type) -> bool:
    wrapper = cfg.get('optim_wrapper')
    if not isinstance(wrapper, Mapping):
        return False
    return is_type(OPTIM_WRAPPERS, wrapper.get('type', OptimWrapper), *classes)


def _use_amp(cfg: Config) -> None:
    wrapper = cfg.get('optim_wrapper')
    if not _is_wrapper(cfg, OptimWrapper, AmpOptimWrapper, CPUAmpOptimWrapper):
        kind = wrapper.get('type') if isinstance(wrapper, Mapping) else wrapper
        raise UserError(
            f'--amp requires optim_wrapper.type OptimWrapper, but {cfg.filename} has '
            f'{kind}: leave the option out or change the type.'
        )
    if torch.cuda.is_available():
        wrapper['type'] = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
    else:
        wrapper['type'] = 'CPUAmpOptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)


def _use_auto_scale_lr(cfg: Config) -> None:
    given = cfg.get('auto_scale_lr')
    if not isinstance(given, Mapping) or given.get('base_batch_size') is None:
        raise UserError(
            f'--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=N) in {cfg.filename}, '
            'where N is the batch size its learning rate was chosen for.'
        )
    given['enable'] = True


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C began it: mmengine makes a SyntaxError of one while it writes a config."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _how_to_continue(cfg: Config) -> str:
    if not os.path.isfile(os.path.join(cfg.work_dir, 'last_checkpoint')):
        return 'no checkpoint was written yet, so the same command starts over.'
    return f'the same command with --resume continues from the last checkpoint in {cfg.work_dir}.'
