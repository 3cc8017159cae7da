"""Training and testing: checks before a run, safe and atomic checkpoints, errors in a sentence.

Without mmengine only the errors are there.
"""

from importlib.util import find_spec

from ..utils.errors import UserError, missing_package, user_errors

__all__ = ['UserError', 'user_errors']

if find_spec('mmengine'):
    from .amp import CPUAmpOptimWrapper
    from .atomic import AtomicLocalBackend
    from .checkpoint_file import register_safe_globals
    from .config import CfgOptions, load_config
    from .hooks.affine import AffineHook
    from .hooks.checkpoint import AtomicCheckpointHook
    from .hooks.divergence import DivergedError, InvalidLossHook
    from .hooks.resume_lr import ResumeLRHook
    from .preflight import DatasetContent, PlannedDataset, register_dataset_check, run_preflight
    from .test import test
    from .train import train

    __all__ += [
        'AffineHook',
        'AtomicCheckpointHook',
        'AtomicLocalBackend',
        'CPUAmpOptimWrapper',
        'CfgOptions',
        'DivergedError',
        'InvalidLossHook',
        'DatasetContent',
        'PlannedDataset',
        'ResumeLRHook',
        'load_config',
        'register_dataset_check',
        'register_safe_globals',
        'run_preflight',
        'test',
        'train',
    ]
else:

    def __getattr__(name: str) -> object:
        if name.startswith('__'):
            raise AttributeError(name)
        raise ImportError(missing_package('mmengine'))
