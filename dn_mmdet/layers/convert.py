"""Turning the norm layers of a trained or fresh model into DN-B."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .dnb import DNB
from .dynamic_norm import DynamicNorm
from .sc_module import GAIN, PARAMETERIZATION
from .se_bn import SEBN

__all__ = ['convert_batchnorm']

# Parent, name in it, and module.
Place = tuple[nn.Module, str, nn.Module]


def convert_batchnorm(
    model: nn.Module,
    r: int = 16,
    g: int | str = 'oup',
    parameterization: str = PARAMETERIZATION,
    gain: float | str = GAIN,
) -> nn.Module:
    """Replace BatchNorm by DN-B; the model computes the same as before, in training too.

    Every ``nn.BatchNorm2d`` and ``nn.SyncBatchNorm`` becomes a :class:`DNB` with its statistics,
    gamma and beta as offsets, eps, momentum, device, dtype and mode; of a SyncBatchNorm also the
    process group. A layer used in several places remains shared. Where gamma is frozen, so is the
    SC-Module. Subclasses with a forward of their own, ``nn.BatchNorm1d``, ``nn.BatchNorm3d``,
    other norms and the inside of DN-B, DN-C and SE + BN are left alone. Hooks of a replaced layer
    are dropped. Then create a new optimizer: gamma and beta are no longer trained, the SC-Module
    is.

    Args:
        model (nn.Module): Changed in place, or replaced where it is a BatchNorm itself.
        r (int): Reduction ratio of the SC-Modules. Defaults to 16.
        g (int | str): Channels of each group of their second layer, or 'oup' for a dense one.
            Defaults to 'oup'.
        parameterization (str): As in :class:`DNB`. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.

    Returns:
        nn.Module: The model.

    Raises:
        TypeError: ``model`` is not a module, or an argument is not of the type above.
        ValueError: There is nothing to convert, an argument is out of range, or a BatchNorm has an
            eps of 0. Nothing has been changed then.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got {type(model).__name__}')
    top = nn.Module()
    top.model = model  # So that the model itself has a place.
    every = list(_places(top))
    places = [place for place in every if _is_convertible(place[2])]
    if not places:
        norms = sorted({type(module).__name__ for _, _, module in every if _is_norm(module)})
        raise ValueError(
            f'{type(model).__name__} has no BatchNorm2d or SyncBatchNorm to convert: '
            + (f'its norm layers are {", ".join(norms)}' if norms else 'it has no norm layers')
        )
    # All are made before the first is put in place, since making one may fail.
    options = dict(r=r, g=g, parameterization=parameterization, gain=gain)
    made = {bn: _converted(bn, **options) for _, _, bn in places}
    for parent, name, bn in places:
        parent.add_module(name, made[bn])
    return top.model


def _converted(bn: nn.Module, **options: Any) -> DNB:
    trained = bn.weight is None or bn.weight.requires_grad
    return DNB.from_bn(bn, requires_grad=trained, **options)


def _is_convertible(module: nn.Module) -> bool:
    forward = type(module).forward
    return (isinstance(module, nn.BatchNorm2d) and forward is _BatchNorm.forward) or (
        isinstance(module, nn.SyncBatchNorm) and forward is nn.SyncBatchNorm.forward
    )


def _places(module: nn.Module, seen: set[nn.Module] | None = None) -> Iterator[Place]:
    """Every place in a model, but for those inside of our layers."""
    seen = set() if seen is None else seen
    for name, child in module._modules.items():
        if child is None:
            continue
        yield module, name, child
        if child not in seen and not isinstance(child, (DynamicNorm, SEBN)):
            seen.add(child)
            yield from _places(child, seen)


def _is_norm(module: nn.Module) -> bool:
    """By the name, since every library has norms of its own."""
    return 'Norm' in type(module).__name__ or isinstance(module, (DynamicNorm, SEBN))
