"""Size and cost of the model that a configuration describes; no data set, no checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from ..engine.config import load_config
from ..engine.preflight.planned import silence
from ..engine.preflight.registries import config_scope, find_type
from ..utils.errors import UserError
from ..utils.text import error_line, markdown_table
from .complexity import Complexity, count_complexity
from .model import build_model

__all__ = ['ConfigComplexity', 'config_complexity', 'find_input_shape', 'print_config_complexity']

# What a classifier that says nothing else is made for, ImageNet's usual crop.
CLASSIFIER = (224, 224)


@dataclass(frozen=True)
class ConfigComplexity:
    """What was counted of a configuration.

    Attributes:
        model (str): The model's class.
        shape (tuple[int, int]): Height and width of the input, padded as the model pads it.
        complexity (Complexity): The counts.
        channels (int): Channels of the input. Defaults to 3.
    """

    model: str
    shape: tuple[int, int]
    complexity: Complexity
    channels: int = 3


def config_complexity(
    config: str | Path | Config,
    shape: tuple[int, int] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> ConfigComplexity:
    """Build the model of a configuration, with random weights, and count.

    Weights are never loaded, whatever ``init_cfg`` and ``load_from`` say. A two-stage detector is
    counted with the proposals of its untrained first stage, usually as many as it may have.

    Args:
        config (str | Path | Config): Configuration of a detector or classifier, or its file.
        shape (tuple[int, int], optional): Height and width of the image, which are padded to the
            ``pad_size_divisor`` of the data preprocessor. Defaults to what
            ``find_input_shape`` finds.
        cfg_options (Mapping, optional): Overrides of a file, dotted key to value.

    Returns:
        ConfigComplexity: Model, shape and counts.

    Raises:
        UserError: The configuration is missing or wrong, says no shape where none is given, or
            its model does not run at that shape.
    """
    cfg = config if isinstance(config, Config) else load_config(str(config), cfg_options)
    if not isinstance(cfg.get('model'), Mapping):
        raise UserError(
            f'{cfg.filename} defines no model: give the configuration of a detector or classifier.'
        )
    if shape is not None and (len(shape) != 2 or min(shape) < 1):
        raise UserError(
            '--shape must be a height and a width of 1 pixel or more, but got '
            f'{" ".join(map(str, shape))}.'
        )
    # A random first stage decides on the proposals: the same ones every time.
    with (
        silence(),
        torch.random.fork_rng(devices=[]),
        config_scope(cfg, 'mmdet'),
    ):
        torch.manual_seed(0)
        model = build_model(cfg)
        shape = _padded(model, shape or _shape_of(cfg))
        # What backbones call the channels of their image.
        channels = (cfg.model.get('backbone') or {}).get('in_channels', 3)
        try:
            complexity = count_complexity(model, shape, channels)
        # The forward pass is the model's own: whatever it raises tells that it does not run.
        except Exception as error:
            raise UserError(
                f'{cfg.filename}: {type(model).__name__} cannot run on one image of {shape[0]}x'
                f'{shape[1]} ({error_line(error)}); give another size with --shape H W.'
            ) from error
    return ConfigComplexity(type(model).__name__, shape, complexity, channels)


def print_config_complexity(
    config: str | Path,
    shape: tuple[int, int] | None = None,
    depth: int = 1,
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Print the counts of a configuration, of the whole model and of its parts.

    Args:
        config (str | Path): As in :func:`config_complexity`.
        shape (tuple[int, int], optional): As there.
        depth (int): How deep parts are listed: 1 lists backbone, neck and head. Defaults to 1.
        cfg_options (Mapping, optional): As there.

    Raises:
        UserError: As there, or the depth is negative.
    """
    if depth < 0:
        raise UserError(f'--per-module must be 0 or more, but got {depth}.')
    found = config_complexity(config, shape, cfg_options)
    height, width = found.shape
    print(f'{config}: {found.model}, input {found.channels}x{height}x{width}')
    total = found.complexity
    rows = [('model', total.params, total.mult_adds)]
    rows += [
        ('  ' * (name.count('.') + 1) + name, params, mult_adds)
        for name, (params, mult_adds) in total.modules.items()
        if name.count('.') < depth and (params or mult_adds)
    ]
    # A classifier's cost reads best in millions, a detector's at full size in billions.
    unit, scale = ('G', 1e9) if total.mult_adds >= 1e10 else ('M', 1e6)
    print(
        markdown_table(
            [('module', 'parameters', 'multiply-adds')]
            + [
                (name, f'{params / 1e6:.3f}M', f'{mult_adds / scale:.3f}{unit}')
                for name, params, mult_adds in rows
            ]
        )
    )
    print(
        'Convolutions, fully connected layers and matrix products are counted, without biases; '
        'norms, pooling, interpolation and elementwise operators are free.'
    )
    if total.uncounted:
        print(f'Not counted: {", ".join(total.uncounted)}.')


def find_input_shape(cfg: Config) -> tuple[int, int] | None:
    """Height and width of the model's input, without reading an image.

    The last transform of the test pipeline that fixes a size says it; without one, ``input_size``
    of the configuration; without that, a classifier has 224x224. Where the pipeline keeps the
    ratio of the image, a landscape one at its limits is meant: (800, 1333) for
    ``scale=(1333, 800)``.

    Args:
        cfg (Config): The configuration.

    Returns:
        tuple[int, int] | None: In pixels; None where nothing says it.
    """
    shape = None
    for transform in _test_pipeline(cfg):
        shape = _shape_after(transform, shape) or shape
    if shape is None and cfg.get('input_size') is not None:
        shape = _height_width(cfg.input_size)
    if shape is None:
        with config_scope(cfg, 'mmdet'):
            cls = find_type(MODELS, cfg.model.get('type'))
        if 'Classifier' in getattr(cls, '__name__', ''):
            shape = CLASSIFIER
    return shape


def _shape_of(cfg: Config) -> tuple[int, int]:
    shape = find_input_shape(cfg)
    if shape is None:
        raise UserError(
            f'{cfg.filename} gives no input size in its test pipeline or as '
            'input_size: give it with --shape H W.'
        )
    return shape


def _padded(model: nn.Module, shape: Sequence[int]) -> tuple[int, ...]:
    divisor = getattr(getattr(model, 'data_preprocessor', None), 'pad_size_divisor', 1)
    return tuple(-(-side // divisor) * divisor for side in shape)


def _test_pipeline(cfg: Config) -> Sequence[Mapping]:
    for loader in ('test_dataloader', 'val_dataloader'):
        dataset = (cfg.get(loader) or {}).get('dataset') or {}
        while isinstance(dataset.get('dataset'), Mapping):
            dataset = dataset['dataset']
        if dataset.get('pipeline'):
            return dataset['pipeline']
    return cfg.get('test_pipeline') or []


def _shape_after(
    transform: Mapping[str, Any], before: tuple[int, int] | None
) -> tuple[int, int] | None:
    """The size after one transform, None where it leaves the size open."""
    if transform.get('pad_to_square') and before:
        return max(before), max(before)
    # mmcv's and mmdet's Resize and Pad, the crops of mmcv, mmpretrain and this package.
    for key in ('scale', 'crop_size', 'size'):
        if transform.get(key) is not None:
            shape = _height_width(transform[key])
            return tuple(sorted(shape)) if transform.get('keep_ratio') else shape
    if {'width', 'height'} <= set(transform):
        return transform['height'], transform['width']
    return None


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    """Configurations give (width, height), or one number for a square."""
    width, height = (size, size) if isinstance(size, int) else size
    return int(height), int(width)
