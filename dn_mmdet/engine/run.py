"""What training and testing have in common: the way from a configuration to a Runner."""

from collections.abc import Mapping

import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, RUNNERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from ..utils.errors import UserError
from ..utils.versions import installed_version
from .atomic import use_atomic_writes
from .checkpoint_file import force_weights_only
from .distributed import use_cpu_model_wrapper
from .preflight.registries import config_scope, is_type

__all__ = [
    'build_runner',
    'drop_disabled_hooks',
    'prepare_process',
    'use_own_hooks',
]

# As in configs/_base_/default_runtime.py.
OWN_HOOKS = {'invalid_loss': 'InvalidLossHook', 'resume_lr': 'ResumeLRHook'}
# The Runner has these by itself, and leaves out one that is None.
MMENGINE_HOOKS = (
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
)


def prepare_process() -> None:
    """Set what holds for the whole process; to be called before any tensor work.

    Checkpoints are loaded with ``weights_only``, files are written atomically, an image that does
    not load names itself, mmdet reads and evaluates COCO files with
    :class:`~dn_mmdet.detection.CocoFile` and passes over useless boxes of XML files, and on CPU
    denormal numbers count as zero: a network that collapsed is full of them, and they make it ten
    times slower. (The threads that torch starts later take that over from this one.)
    """
    force_weights_only()
    use_atomic_writes()
    if installed_version('mmcv'):
        from .image_loading import name_bad_images

        name_bad_images()
    if installed_version('mmdet'):
        from ..detection import use_coco_files, use_sound_boxes

        use_coco_files()
        use_sound_boxes()
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
    _forget_visualizer(cfg)
    runner = Runner.from_cfg(cfg) if 'runner_type' not in cfg else RUNNERS.build(cfg)
    for note in notes:
        runner.logger.info(note)
    return runner


def use_own_hooks(cfg: Config) -> None:
    """Give a configuration this package's default hooks where it does not choose for itself.

    Args:
        cfg (Config): Changed in place: ``CheckpointHook``, which mmengine takes where none is
            named, becomes ``AtomicCheckpointHook``, and the hooks of :data:`OWN_HOOKS` are added
            to ``default_hooks``. One that is None there stays off.

    Raises:
        UserError: ``default_hooks`` is not a dict.
    """
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    hooks = cfg.default_hooks
    if not isinstance(hooks, Mapping):
        raise UserError(f'default_hooks is {hooks!r} in {cfg.filename}, not a dict of hooks.')
    hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook'))
    with config_scope(cfg):
        for hook in (hooks.checkpoint, *(cfg.get('custom_hooks') or ())):
            if isinstance(hook, Mapping) and is_type(HOOKS, hook.get('type'), CheckpointHook):
                hook['type'] = 'AtomicCheckpointHook'
    for name, type_ in OWN_HOOKS.items():
        hooks.setdefault(name, ConfigDict(type=type_))


def drop_disabled_hooks(cfg: Config) -> None:
    """Remove hooks that are None: mmengine allows that for its own default hooks alone."""
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None]:
        if name not in MMENGINE_HOOKS:
            del hooks[name]


def _forget_visualizer(cfg: Config) -> None:
    """Close the visualizer that an earlier run of this process made under the same name.

    mmengine would hand it out again, and with it the earlier run's folder.
    """
    name = (cfg.get('visualizer') or {}).get('name')
    earlier = Visualizer._instance_dict.pop(name, None)
    if earlier is not None:
        type(earlier)._instance_dict.pop(name, None)
        earlier.close()
