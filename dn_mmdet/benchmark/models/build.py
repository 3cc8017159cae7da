"""A model with a given norm, and the step of it that is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from mmdet.models.detectors.base import BaseDetector
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import Tensor, nn

from ...backbones import MobileNetV2DN, ResNetDN
from ...engine.config import load_config
from ...engine.preflight.planned import silence
from ...engine.preflight.registries import config_mistakes, config_scope, is_type
from ...ops import choose_path, use_path
from ...utils.errors import UserError
from ..case import LAYOUTS
from ..measure import Subject
from .cases import MOBILENET, NORMS, ModelCase, Norm

__all__ = ['build_subject', 'why_not']


def why_not(case: ModelCase, norm: str) -> str:
    """Why a norm cannot be had in a case's model; '' where it can."""
    if NORMS[norm].fold is None or norm == 'naive' or case.model == MOBILENET:
        return ''
    cfg = load_config(case.model)
    backbone = _backbone(cfg).get('type')
    if _folds(cfg):
        return ''
    return f'{getattr(backbone, "__name__", backbone)} folds no activation into its norms'


def build_subject(case: ModelCase, norm: str, device: torch.device) -> Subject:
    """Build a case's model with a norm; random weights and input are the same each time.

    Args:
        case (ModelCase): Model, mode and input.
        norm (str): Key of ``NORMS``.
        device (torch.device): Where it runs.

    Raises:
        UserError: The configuration is wrong, or its model cannot have that norm.
    """
    how = NORMS[norm]
    train = case.mode == 'train'
    with torch.random.fork_rng(devices=[]), silence():
        torch.manual_seed(0)
        model = (
            _mobilenet(how, case.width)
            if case.model == MOBILENET
            else _from_config(case.model, how)
        )
    model = model.to(device, memory_format=LAYOUTS[case.layout]).train(train)
    if case.compile:
        model.compile(dynamic=False)
    network = _network(model, case, device)
    dtype = getattr(torch, case.dtype)
    optimizer = None
    if train and case.optimizer:
        # A rate of 0 does all of the work, and the weights stay as they are.
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=4e-5)

    def forward() -> Any:
        # Before torch 2.2 autocast of float32 is an error, even where it is not enabled.
        plain = dtype == torch.float32
        with torch.set_grad_enabled(train):
            with nullcontext() if plain else torch.autocast(device.type, dtype):
                return network()

    def step() -> None:
        output = forward()
        if train:
            output.backward()
            if optimizer:
                optimizer.step()
            model.zero_grad()

    backward = Tensor.backward if train else None
    return Subject(norm, step, forward, backward, _path(how, dtype, device), how.path, model)


def _mobilenet(how: Norm, width: float) -> nn.Module:
    return MobileNetV2DN(widen_factor=width, norm_cfg=dict(how.cfg), out_indices=(7,), **_fold(how))


def _fold(how: Norm) -> dict:
    return {} if how.fold is None else dict(fold_activation=how.fold)


def _from_config(file: str, how: Norm) -> nn.Module:
    cfg = load_config(file)
    backbone = _backbone(cfg)
    old = backbone.get('norm_cfg') or {}
    backbone.norm_cfg = {
        **{key: old[key] for key in ('eps', 'requires_grad') if key in old},
        **how.cfg,
    }
    if _folds(cfg):
        backbone.update(_fold(how))
    with config_scope(cfg, 'mmdet'), config_mistakes(cfg, 'the model'):
        return revert_sync_batchnorm(MODELS.build(cfg.model))


def _folds(cfg: Config) -> bool:
    """Whether the backbone can let DN-B do the activation behind it."""
    with config_scope(cfg, 'mmdet'):
        return is_type(MODELS, _backbone(cfg).get('type'), MobileNetV2DN, ResNetDN)


def _backbone(cfg: Config) -> ConfigDict:
    backbone = (cfg.get('model') or {}).get('backbone')
    if not isinstance(backbone, Mapping):
        raise UserError(
            f'{cfg.filename} has no model.backbone, whose norms could be replaced: '
            'give the configuration of a detector or classifier.'
        )
    return backbone


def _network(model: nn.Module, case: ModelCase, device: torch.device) -> Callable[[], Any]:
    """What returns the loss, or in evaluation the output."""
    layout = LAYOUTS[case.layout]
    if isinstance(model, BaseDetector):
        data = _detector_data(model, case)
        data['inputs'] = data['inputs'].contiguous(memory_format=layout)
        if case.mode == 'train':
            return lambda: model.parse_losses(model(**data, mode='loss'))[0]
        # Without the search for boxes, which depends on the scores alone.
        return lambda: model(**data, mode='tensor')
    generator = torch.Generator(device).manual_seed(1)
    x = torch.randn(case.batch, 3, case.size, case.size, generator=generator, device=device)
    x = x.contiguous(memory_format=layout)
    if case.mode == 'train':
        return lambda: sum(y.float().square().mean() for y in _outputs(model(x)))
    return lambda: model(x)


def _detector_data(model: nn.Module, case: ModelCase) -> dict:
    """Noise with a few boxes, as the data preprocessor hands it to the detector."""
    from mmdet.testing import demo_mm_inputs  # it imports all of mmdet's tests need

    packed = demo_mm_inputs(case.batch, (3, case.size, case.size), num_items=[8] * case.batch)
    for sample in packed['data_samples']:
        sample.gt_instances.labels.zero_()  # a class that every detector has
    return model.data_preprocessor(packed, training=True)


def _outputs(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def _path(how: Norm, dtype: torch.dtype, device: torch.device) -> str | None:
    if how.cfg['type'] != 'DNB':
        return None
    with use_path(how.path):
        return choose_path(torch.empty(1, 1, 1, 1, dtype=dtype, device=device))
