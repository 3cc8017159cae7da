"""Turning the norm layers of a trained or fresh model into DN-B."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import nn

from ..ops.activation import ACTIVATIONS
from .batchnorms import is_batchnorm2d, read_batchnorm
from .dnb import DNB
from .norm_act import NormAct
from .places import Place, Where, find_layers, replace_layers, select_layers
from .sc_module import GAIN, PARAMETERIZATION

__all__ = ['convert_batchnorm']


def convert_batchnorm(
    model: nn.Module,
    r: int = 16,
    g: int | str = 'oup',
    parameterization: str = PARAMETERIZATION,
    gain: float | str = GAIN,
    where: Where | None = None,
    **norm: Any,
) -> nn.Module:
    """Replace BatchNorm by DN-B; the model computes the same as before, in training too.

    Every BatchNorm over (N, C, H, W) becomes a :class:`DNB` with its statistics, gamma and beta as
    offsets, eps, momentum, device, dtype and mode: ``nn.BatchNorm2d``, ``nn.SyncBatchNorm`` and
    mmcv's (which also give the process group), what mmengine's ``revert_sync_batchnorm`` makes of
    them, ``FrozenBatchNorm2d`` of torchvision and detectron2, and timm's ``BatchNormAct2d`` with
    its dropout and activation. An activation that DN-B can apply itself becomes its
    ``activation``; around others there is a module with the keys of the norm.

    A layer used in several places remains shared. Where gamma is frozen, so is the SC-Module; the
    statistics of a ``FrozenBatchNorm2d`` stay in training too. Other subclasses with a forward of
    their own, ``nn.BatchNorm1d``, ``nn.BatchNorm3d``, other norms and the inside of DN-B, DN-C and
    SE + BN are left alone. Hooks of a replaced layer are dropped. Then create a new optimizer:
    gamma and beta are no longer trained, the SC-Module is.

    Args:
        model (nn.Module): Changed in place, or replaced where it is a BatchNorm itself.
        r (int): Reduction ratio of the SC-Modules. Defaults to 16.
        g (int | str): Channels of each group of their second layer, or 'oup' for a dense one.
            Defaults to 'oup'.
        parameterization (str): As in :class:`DNB`. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.
        where (Callable | str | Sequence[str], optional): Which BatchNorms are replaced: a function
            of name and module that returns whether this one is, or one or several patterns with
            ``*``, ``?`` and ``[...]``, as in file names, for the name of a layer or of a module
            that it is in (``'backbone'``, ``'backbone.layer[34]'``, ``'*.bn1'``). Defaults to
            None, for all.
        **norm: Further arguments of :class:`DNB`, as ``sc_input``, but those that the BatchNorm
            gives and ``activation``.

    Returns:
        nn.Module: The model.

    Raises:
        TypeError: ``model`` is not a module, or an argument is not of the type above or not one
            of :class:`DNB`.
        ValueError: There is nothing to convert, ``where`` or one of its patterns selects nothing,
            an argument is out of range, the model is wrapped in ``DistributedDataParallel``, or
            a BatchNorm has an eps of 0, a parametrized or pruned gamma, or no channels yet.
            Nothing has been changed then.
    """
    options = dict(r=r, g=g, parameterization=parameterization, gain=gain, **norm)
    top, places = find_layers(model, is_batchnorm2d, 'BatchNorm2d or SyncBatchNorm')
    if 'activation' in norm:
        raise TypeError(
            'activation would change what the model computes: leave it out (a timm layer keeps '
            'its own, and dn_mmdet.layers.fold_activations folds those behind the norms)'
        )
    DNB(
        **{**options, 'num_features': 1, 'device': 'meta'}
    )  # What is wrong with them is not the fault of a layer.
    places = select_layers(places, where)
    # All are made before the first is put in place, since making one may fail.
    made = {}
    for place in places:
        if place.layer not in made:
            made[place.layer] = _converted(model, place, options)
    replace_layers(places, made)
    return top.model


def _converted(model: nn.Module, place: Place, options: Mapping[str, Any]) -> nn.Module:
    try:
        parts = read_batchnorm(place.layer)
        own = {'requires_grad': parts.trained, **options}
        if not parts.state:
            # It says nothing of where it is; the rest of the model does.
            own = {**_like(model), **own}
        drop, act = parts.after.get('drop'), parts.after.get('act')
        if drop is None and type(act) in FOLDED:
            return parts.build(DNB, activation=type(act).__name__, **own)
        layer = parts.build(DNB, **own)
    except (TypeError, ValueError) as error:
        raise type(error)(f'{place.path or "model"}: {error}') from error
    return NormAct(layer, drop, act) if parts.after else layer


FOLDED = tuple(getattr(nn, name) for name in ACTIVATIONS)


def _like(model: nn.Module) -> dict[str, Any]:
    numbers = (n for n in chain(model.parameters(), model.buffers()) if n.is_floating_point())
    like = next(numbers, None)
    return {} if like is None else dict(device=like.device, dtype=like.dtype)
