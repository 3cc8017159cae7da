"""Checks of what is passed to an operator, worded as torch.nn.functional.batch_norm words them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.fx import Proxy

from ..utils.python39 import zip_strict
from .sc import SC_INPUTS, SCWeights

__all__ = ['check_arguments', 'check_device']

FLOAT = torch.float32
FLOATS = frozenset((torch.float32, torch.bfloat16, torch.float16, torch.float64))


def check_arguments(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weights: SCWeights,
    training: bool,
    eps: float,
    sc_input: str,
    shared: bool = False,
    fc1_scale: float = 1.0,
    fc2_scale: float = 1.0,
) -> None:
    """Refuse what does not go together.

    This is part of every call: what is right passes in two expressions of cheap steps.

    Raises:
        NotImplementedError: ``x`` is not of a real floating-point dtype.
        RuntimeError: A tensor is on the wrong device or of the wrong size or dtype, or running
            statistics are missing in evaluation.
        TypeError: ``x`` is not a tensor.
        ValueError: ``x`` is not 4-D or has one value per channel in training, one of the running
            statistics is missing, eps is not positive, there is no such ``sc_input``, or a factor
            of the SC-Module is not positive and finite.
    """
    if not isinstance(x, Tensor):
        if isinstance(x, Proxy):
            return  # Sizes and dtypes are symbols then.
        raise TypeError(
            "dynamic_batch_norm(): argument 'x' (position 1) must be Tensor, not "
            f'{type(x).__name__}'
        )
    if torch.jit.is_tracing():
        return
    if x.dim() != 4:
        raise ValueError(f'expected 4D input (got {x.dim()}D input)')
    n, c, h, w = x.shape
    if training and n * h * w == 1 and not shared:
        raise ValueError(
            f'Expected more than 1 value per channel when training, got input size {x.shape}'
        )
    if eps <= 0:
        raise ValueError(f'dynamic_batch_norm eps must be positive, but got {eps}')
    if sc_input not in SC_INPUTS:
        raise ValueError(f"sc_input must be 'raw' or 'normalized', got {sc_input!r}")
    for name, scale in (('fc1_scale', fc1_scale), ('fc2_scale', fc2_scale)):
        if not 0 < scale < math.inf:
            raise ValueError(f'{name} must be positive and finite, got {scale!r}')
    fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset = weights
    mean, var = running_mean, running_var
    if mean is None or var is None:
        if not training:
            name = 'running_mean' if mean is None else 'running_var'
            raise RuntimeError(f'{name} must be defined in evaluation mode')
        if mean is not var:
            raise ValueError(
                'running_mean and running_var must either both be None or neither be None'
            )
        mean = var = alpha_offset  # Of the right size, and checked anyway.
    given = (alpha_offset, lambda_offset, mean, var, fc1_weight, fc1_bias, fc2_weight)
    units, inputs = fc1_bias.numel(), fc2_weight.shape[-1] if fc2_weight.dim() else 0
    if not (
        alpha_offset.shape == lambda_offset.shape == mean.shape == var.shape == (c,)
        and fc1_weight.shape == (units, c)
        and fc1_bias.dim() == 1
        and fc2_weight.shape == (2 * c, inputs)
        and inputs
        and units
        and not units % inputs
        and not 2 * c % (units // inputs)
    ):
        _refuse_sizes(c, *given)
    if not (
        x.is_cpu
        and alpha_offset.is_cpu
        and lambda_offset.is_cpu
        and mean.is_cpu
        and var.is_cpu
        and fc1_weight.is_cpu
        and fc1_bias.is_cpu
        and fc2_weight.is_cpu
    ):
        _check_devices(x, *given)
    if not (
        x.dtype in FLOATS
        and alpha_offset.dtype is FLOAT
        and lambda_offset.dtype is FLOAT
        and mean.dtype is FLOAT
        and var.dtype is FLOAT
        and fc1_weight.dtype is FLOAT
        and fc1_bias.dtype is FLOAT
        and fc2_weight.dtype is FLOAT
    ):
        _check_dtypes(x, *given)


def check_device(x: Tensor, name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not where the input is.

    Raises:
        RuntimeError: It is on another device.
    """
    if tensor.device != x.device:
        raise RuntimeError(
            f'{name}: Tensor on device {tensor.device} is not on the expected device {x.device}!'
        )


NAMES = (
    'alpha_offset',
    'lambda_offset',
    'running_mean',
    'running_var',
    'fc1_weight',
    'fc1_bias',
    'fc2_weight',
)


def _refuse_sizes(channels: int, *given: Tensor) -> None:
    named = dict(zip_strict(NAMES, given))
    for name in NAMES[:4]:
        if named[name].shape != (channels,):
            raise RuntimeError(_wrong_count(name, channels, named[name]))
    weight, bias, second = (named[name] for name in NAMES[4:])
    if weight.dim() != 2 or weight.shape[1] != channels:
        raise RuntimeError(
            f'fc1_weight should be of size (H, {channels}), not {tuple(weight.shape)}'
        )
    if bias.shape != weight.shape[:1]:
        raise RuntimeError(_wrong_count('fc1_bias', len(weight), bias))
    raise RuntimeError(
        f'fc2_weight should be of size ({2 * channels}, g), where g divides {len(weight)} units '
        f'into groups that divide {2 * channels} outputs, not {tuple(second.shape)}'
    )


def _wrong_count(name: str, count: int, given: Tensor) -> str:
    if given.dim() != 1:
        return f'{name} should be of size ({count},), not {tuple(given.shape)}'
    return f'{name} should contain {count} elements not {given.numel()}'


def _check_devices(x: Tensor, *given: Tensor) -> None:
    for name, tensor in zip_strict(NAMES, given):
        check_device(x, name, tensor)


def _check_dtypes(x: Tensor, *given: Tensor) -> None:
    if x.dtype not in FLOATS:
        raise NotImplementedError(f'"dynamic_batch_norm" not implemented for \'{_name(x)}\'')
    for name, tensor in zip_strict(NAMES, given):
        if tensor.dtype not in FLOATS:
            raise RuntimeError(
                f'mixed dtype: expect {name} to have a floating-point scalar type, got '
                f'{_name(tensor)}'
            )


def _name(tensor: Tensor) -> str:
    """The scalar type as torch names it in errors."""
    return tensor.type().rsplit('.', 1)[-1].removesuffix('Tensor')
