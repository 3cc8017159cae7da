"""The hooks that every run of the tools has, also with a configuration of mmdet's own."""

from collections.abc import Mapping

from mmengine.config import Config, ConfigDict

__all__ = ['drop_disabled_hooks', 'use_own_hooks']

# As in configs/_base_/default_runtime.py.
OWN_HOOKS = {'invalid_loss': 'InvalidLossHook', 'resume_lr': 'ResumeLRHook'}


def use_own_hooks(cfg: Config) -> None:
    """Give a configuration this package's default hooks where it does not choose for itself.

    Args:
        cfg (Config): Changed in place: ``CheckpointHook`` becomes ``AtomicCheckpointHook``, and
            the hooks of :data:`OWN_HOOKS` are added to ``default_hooks``. One that is None there
            stays off.
    """
    if cfg.get('default_hooks') is None:
        cfg.default_hooks = ConfigDict()
    hooks = cfg.default_hooks
    checkpoint = hooks.get('checkpoint')
    if isinstance(checkpoint, Mapping) and checkpoint.get('type') == 'CheckpointHook':
        checkpoint['type'] = 'AtomicCheckpointHook'
    for name, type_ in OWN_HOOKS.items():
        hooks.setdefault(name, ConfigDict(type=type_))


def drop_disabled_hooks(cfg: Config) -> None:
    """Remove own hooks that are None: mmengine allows that for its own default hooks alone."""
    for name in OWN_HOOKS:
        if name in (cfg.get('default_hooks') or {}) and cfg.default_hooks[name] is None:
            del cfg.default_hooks[name]
