"""Training and testing: checks before a run, safe and atomic checkpoints, errors in a sentence.

Without mmengine only the errors are there.
"""

from importlib.util import find_spec

from .errors import UserError, user_errors

__all__ = ['UserError', 'user_errors']

if find_spec('mmengine'):
    from . import (  # noqa: F401 - they register their checks
        check_coco,
        check_image_folder,
        check_image_list,
    )
    from .affine_hook import AffineHook
    from .amp import CPUAmpOptimWrapper
    from .atomic import AtomicLocalBackend, atomic_write
    from .check_data import register_dataset_check
    from .checkpoint_hook import AtomicCheckpointHook
    from .config import CfgOptions, load_config
    from .divergence import DivergedError
    from .invalid_loss import InvalidLossHook
    from .preflight import preflight
    from .publish import publish
    from .resume_lr import ResumeLRHook
    from .safe_globals import register_safe_globals
    from .testing import test
    from .training import train

    __all__ += [
        'AffineHook',
        'AtomicCheckpointHook',
        'AtomicLocalBackend',
        'CPUAmpOptimWrapper',
        'CfgOptions',
        'DivergedError',
        'InvalidLossHook',
        'ResumeLRHook',
        'atomic_write',
        'load_config',
        'preflight',
        'publish',
        'register_dataset_check',
        'register_safe_globals',
        'test',
        'train',
    ]
