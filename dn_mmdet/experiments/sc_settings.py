"""Settings of a run, dotted key to value, that change the SC-Module's form or how it is trained."""

from __future__ import annotations

from typing import Any

__all__ = ['BASE_LR', 'CONDITIONED', 'NORMALIZED', 'RAW', 'capped', 'train_sc']

# Of the recipes on digits.
BASE_LR = 0.05

# The paper's form, and the default of the layer.
RAW = {'model.backbone.norm_cfg.sc_input': 'raw'}
NORMALIZED = {'model.backbone.norm_cfg.sc_input': 'normalized'}

_CONDITIONED = {**NORMALIZED, 'model.backbone.norm_cfg.parameterization': 'conditioned'}

# Name of the form, as docs/method.md describes it, to settings.
CONDITIONED = {
    'conditioned': _CONDITIONED,
    'conditioned_sqrt_bn': {**_CONDITIONED, 'model.backbone.norm_cfg.gain': 'sqrt_bn'},
    'conditioned_bn': {**_CONDITIONED, 'model.backbone.norm_cfg.gain': 'bn'},
}


def train_sc(**factors: float) -> dict[str, Any]:
    """The SC-Modules' ``lr_mult`` or ``decay_mult``, as mmengine's ``custom_keys`` take them."""
    return {'optim_wrapper.paramwise_cfg': {'custom_keys': {'.sc.': factors}}}


def capped(lr: float, highest: float | None) -> dict[str, Any]:
    """Train the SC-Modules at no higher rate than ``highest``, where the rest has ``lr``.

    Args:
        lr (float): Learning rate of the run.
        highest (float, optional): That of the SC-Modules. None for any.

    Returns:
        dict[str, Any]: {} where that changes nothing.
    """
    return {} if highest is None or lr <= highest else train_sc(lr_mult=highest / lr)
