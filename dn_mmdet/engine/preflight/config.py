"""Checking a configuration by itself: its keys and types, and that model and optimizer build."""

import math
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module

from mmengine import registry as registries
from mmengine.config import ConfigDict
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.files import check_output_folder
from .parts import typed_parts
from .planned import PlannedRun, silence
from .registries import config_mistakes, dicts_in, find_type, unknown_type

__all__ = [
    'check_keys',
    'check_model',
    'check_optimizer',
    'check_types',
    'check_vis_backends',
    'check_work_dir',
]

NEEDED_KEYS = {
    'train': ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'),
    'test': ('model', 'test_dataloader', 'test_cfg', 'test_evaluator'),
}

# The Runner takes them together or not at all, whatever it is to do.
TOGETHER = (
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)

# Elsewhere mmengine has a type of its own where none is given.
ALWAYS_TYPED = (registries.HOOKS, registries.TRANSFORMS, registries.DATA_SAMPLERS)

# mmengine imports them when the first value is to be written: the module, and what to install.
NEEDED_PACKAGES = {
    'TensorboardVisBackend': ('torch.utils.tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}


def check_keys(run: PlannedRun) -> None:
    """Check that the configuration is whole.

    Raises:
        UserError: A key without which it cannot train or test is not there, or a loader has no
            data set.
    """
    absent = [key for key in NEEDED_KEYS[run.mode] if run.cfg.get(key) is None]
    if absent:
        raise UserError(
            f'{run.cfg.filename} defines no {" and no ".join(absent)}, so it cannot '
            f'{run.mode}: give a complete configuration, not a base for others to inherit from.'
        )
    for keys in TOGETHER if run.cfg.get('runner_type') is None else ():
        absent = [key for key in keys if run.cfg.get(key) is None]
        if absent and len(absent) < len(keys):
            given = [key for key in keys if key not in absent]
            raise UserError(
                f'{run.cfg.filename} has {" and ".join(given)} without {" and ".join(absent)}: '
                'mmengine needs all three, or none (None for each).'
            )
    for part in run.looked_at():
        key, value = f'{part}_dataloader', run.cfg.get(f'{part}_dataloader')
        if isinstance(value, Mapping):
            key, value = f'{key}.dataset', value.get('dataset')
        if value is None or isinstance(value, (str, int, float, list, tuple)):
            raise UserError(
                f'{key} is {value!r} in {run.cfg.filename}, not a dict that says what to read: '
                f"set it as in {part}_dataloader.dataset=dict(type='CocoDataset', ...)."
            )


def check_work_dir(run: PlannedRun) -> None:
    """Check that the work folder can be written to.

    Raises:
        UserError: It, or what it would be made in, is not a folder or must not be written to.
    """
    if run.cfg.get('work_dir'):
        check_output_folder(run.cfg.work_dir, '--work-dir')


def check_types(run: PlannedRun) -> None:
    """Look up the types of hooks, data sets, transforms and the like.

    Raises:
        UserError: One is not registered; names the key and the nearest name that is.
    """
    cfg = run.cfg
    for key, part, registry in typed_parts(cfg):
        type_ = part.get('type')
        if isinstance(type_, str) and find_type(registry, type_) is None:
            raise unknown_type(f'{key}.type', type_, cfg)
        absent = type_ is None and registry in ALWAYS_TYPED
        if absent or not (type_ is None or isinstance(type_, str) or callable(type_)):
            raise UserError(
                f'{cfg.filename}: {key}.type is {type_!r}: give the name of a class, or in a '
                'configuration in pure Python the class.'
            )
    # mmcv builds these, and its message for an unknown one does not name it.
    for key, part in dicts_in(cfg.get('model'), 'model'):
        if key.rpartition('.')[2] in ('norm_cfg', 'act_cfg', 'conv_cfg'):
            type_ = part.get('type')
            if isinstance(type_, str) and find_type(registries.MODELS, type_) is None:
                raise unknown_type(f'{key}.type', type_, cfg)


def check_vis_backends(run: PlannedRun) -> None:
    """Import what the backends in ``visualizer.vis_backends`` need.

    Raises:
        UserError: A package cannot be imported; says how to install it.
    """
    for _, backend, registry in typed_parts(run.cfg):
        name = getattr(find_type(registry, backend.get('type')), '__name__', None)
        if registry is not registries.VISBACKENDS or name not in NEEDED_PACKAGES:
            continue
        module, package = NEEDED_PACKAGES[name]
        try:
            import_module(module)
        except ImportError as error:
            raise UserError(
                f'visualizer.vis_backends: {name} needs the package {package}, which cannot be '
                f'imported ({error}): run "pip install {package}", or leave the backend '
                'out.'
            ) from error


def check_model(run: PlannedRun) -> None:
    """Build the model, and check that its data preprocessor can divide by what it is given.

    Raises:
        UserError: It cannot be built, a detector has no data preprocessor, or a standard deviation
            or ``pad_size_divisor`` is wrong.
    """
    preprocessor = getattr(run.model, 'data_preprocessor', None)
    # mmengine's own, which stands in for one that is not given.
    if type(preprocessor) is BaseDataPreprocessor and _is_detector(run.model):
        raise UserError(
            f'{run.cfg.filename} has no data_preprocessor, so nothing would normalize images and '
            f'join them to a batch: set model.data_preprocessor=dict(type={"DetDataPreprocessor"!r}'
            ', mean=..., std=...).'
        )
    for name in ('mean', 'std'):
        value = getattr(preprocessor, name, None)
        if not isinstance(value, Tensor):
            continue
        values = value.flatten().tolist()
        if not all(map(math.isfinite, values)) or (name == 'std' and min(values, default=1) <= 0):
            raise UserError(
                f'data_preprocessor.{name} is {values}: each must be a finite number'
                f'{" above 0, since pixels are divided by it" if name == "std" else ""}.'
            )
    divisor = getattr(preprocessor, 'pad_size_divisor', 1)
    if not isinstance(divisor, int) or divisor < 1:
        raise UserError(
            f'data_preprocessor.pad_size_divisor is {divisor!r}: it must be 1 or more, and the '
            'sides of a batch become multiples of it.'
        )


def check_optimizer(run: PlannedRun) -> None:
    """Build the optimizer of a training.

    Raises:
        UserError: It cannot be built.
    """
    wrapper = run.cfg.get('optim_wrapper')
    if run.mode != 'train' or not isinstance(wrapper, Mapping):
        return
    if not isinstance(wrapper.get('optimizer'), Mapping):
        return
    # A wrapper for mixed precision asks for a GPU, which is for the run to say.
    keys = ('optimizer', 'paramwise_cfg', 'constructor')
    part = deepcopy({key: wrapper[key] for key in keys if key in wrapper})
    with silence(), config_mistakes(run.cfg, 'the optimizer'):
        build_optim_wrapper(run.model, ConfigDict(part, type='OptimWrapper'))


def _is_detector(model: nn.Module) -> bool:
    return any(base.__name__ == 'BaseDetector' for base in type(model).__mro__)
