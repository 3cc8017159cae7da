"""alpha and lambda of a model's norm layers, seen from outside (the paper's Figure 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..utils.python39 import zip_strict
from .dynamic_norm import DynamicNorm
from .se_bn import SEBN

__all__ = [
    'AffineMeans',
    'AffineSummary',
    'Entry',
    'mean_affine',
    'norm_layers',
    'record_affine',
    'summarize_affine',
    'watch_affine',
]

# alpha and lambda of a forward pass, each (N, C), and hidden units, (N, H), if there are any.
Entry = tuple[Tensor, Tensor, Optional[Tensor]]

# A unit of the SC-Module this near 0 or 1 has hardly a gradient; one whose values over the images
# differ by less than this says the same of every image.
SATURATED, DEAD = 0.01, 1e-3


@dataclass(frozen=True)
class AffineSummary:
    """How scale and shift of a layer vary over samples.

    Attributes:
        samples (int): Number of images.
        alpha_mean (float): Mean over samples and channels.
        alpha_min (float): The smallest mean over samples of a channel's absolute value.
        alpha_max (float): The largest mean over samples of a channel's absolute value.
        alpha_spread (float): Standard deviation over samples, averaged over channels; 0 for a
            layer whose scale is the same for all.
        lambda_mean (float): As ``alpha_mean``, of the shift.
        lambda_spread (float): As ``alpha_spread``, of the shift.
        units (int): Hidden units of the SC-Module. Defaults to 0, for a layer without one.
        saturated (int): Units within 0.01 of 0 or 1 for every sample. Defaults to 0.
        dead (int): Units whose standard deviation over samples is below 0.001. Defaults to 0.
        unit_spread (float): Standard deviation of a unit over samples, averaged over the units.
            Defaults to 0.
    """

    samples: int
    alpha_mean: float
    alpha_min: float
    alpha_max: float
    alpha_spread: float
    lambda_mean: float
    lambda_spread: float
    units: int = 0
    saturated: int = 0
    dead: int = 0
    unit_spread: float = 0.0


class AffineMeans(NamedTuple):
    """alpha and lambda of a layer, averaged over samples; each of shape (C,).

    Attributes:
        samples (int): Number of maps that passed.
        alpha (Tensor): Mean scale.
        shift (Tensor): Mean lambda.
        alpha_var (Tensor): Variance of the scale about its mean.
        shift_var (Tensor): Variance of lambda.
    """

    samples: int
    alpha: Tensor
    shift: Tensor
    alpha_var: Tensor
    shift_var: Tensor


def norm_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The norm layers with scale and shift, by name, in the order of definition.

    Dynamic norms, SE + BN, and BatchNorm with an affine; the BatchNorm inside one is not a layer
    of its own.

    Args:
        model (nn.Module): Any.

    Returns:
        dict[str, nn.Module]: Name to layer.
    """
    found, inner = {}, set()
    for name, module in model.named_modules():
        if isinstance(module, (DynamicNorm, SEBN)):
            inner.add(id(getattr(module, 'bn', None)))
            found[name] = module
        elif isinstance(module, _BatchNorm) and module.affine and id(module) not in inner:
            found[name] = module
    return found


@contextmanager
def record_affine(
    model: nn.Module, names: Sequence[str] | None = None
) -> Iterator[dict[str, list[Entry]]]:
    """Collect what each layer multiplies and adds while the model runs.

    Nothing is kept on the modules, and DN-B's fast path stays in use.

    Args:
        model (nn.Module): The model that will run inside the ``with`` block.
        names (Sequence[str], optional): Layers. Defaults to all of :func:`norm_layers`.

    Yields:
        dict[str, list[Entry]]: Layer to one entry for each forward pass, float32 on the CPU.

    Raises:
        KeyError: There is no such norm layer.
    """
    layers = norm_layers(model)
    records = {name: [] for name in (layers if names is None else names)}
    missing = [name for name in records if name not in layers]
    if missing:
        raise KeyError(f'{missing[0]} is not a norm layer with scale and shift')

    def keep(name: str, *values: Tensor | None) -> None:
        # A copy: the optimizer is about to change the weights of a BatchNorm.
        records[name].append(
            tuple(v if v is None else v.detach().float().cpu().clone() for v in values)
        )

    with watch_affine({name: layers[name] for name in records}, keep):
        yield records


@contextmanager
def watch_affine(layers: Mapping[str, nn.Module], report: Callable[..., None]) -> Iterator[None]:
    """Report what each layer multiplies and adds in every forward pass inside the block.

    Args:
        layers (Mapping[str, nn.Module]): Norm layers as :func:`norm_layers` finds them.
        report (Callable): Called with a name and the three of an :data:`Entry`.
    """

    def hook(name: str) -> Callable[..., None]:
        def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            with torch.no_grad():
                entry = _affine(layer, inputs[0])
            report(name, *entry)

        return seen

    handles = [layer.register_forward_hook(hook(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mean_affine(
    layers: Mapping[str, nn.Module],
) -> Iterator[dict[str, AffineMeans]]:
    """Average alpha and lambda over the samples that pass in the block.

    Args:
        layers (Mapping[str, nn.Module]): Name to dynamic norm.

    Yields:
        dict[str, AffineMeans]: Filled at the end of the block, float64. A layer that no sample
        reached is not there.
    """
    sums, means = {}, {}

    def add(name: str, alpha: Tensor, shift: Tensor, hidden: Tensor | None) -> None:
        values = [alpha.double(), shift.double()]
        new = [len(alpha), *(v.sum(0) for v in [*values, *(v.square() for v in values)])]
        before = sums.get(name, [0.0] * len(new))
        sums[name] = [old + more for old, more in zip_strict(before, new)]

    with watch_affine(layers, add):
        yield means
    for name, (count, *totals) in sums.items():
        if count:
            alpha, shift, alpha_square, shift_square = (total / count for total in totals)
            means[name] = AffineMeans(
                int(count),
                alpha,
                shift,
                (alpha_square - alpha.square()).clamp(min=0),
                (shift_square - shift.square()).clamp(min=0),
            )


def summarize_affine(entries: Sequence[Entry]) -> AffineSummary:
    """Summary of the entries that :func:`record_affine` collected of one layer.

    Args:
        entries (Sequence[Entry]): At least one.

    Returns:
        AffineSummary: Over the samples of all entries.
    """
    alpha, shift = (torch.cat([entry[i] for entry in entries]) for i in (0, 1))
    units = {}
    if entries[0][2] is not None:
        hidden = torch.cat([entry[2] for entry in entries])
        extreme = ((hidden < SATURATED) | (hidden > 1 - SATURATED)).all(dim=0)
        spread = hidden.std(dim=0, unbiased=False)
        units = dict(
            units=hidden.shape[1],
            saturated=int(extreme.sum()),
            dead=int((spread < DEAD).sum()),
            unit_spread=float(spread.mean()),
        )
    return AffineSummary(
        samples=len(alpha),
        alpha_mean=float(alpha.mean()),
        alpha_min=float(alpha.abs().mean(dim=0).min()),
        alpha_max=float(alpha.abs().mean(dim=0).max()),
        alpha_spread=float(alpha.std(dim=0, unbiased=False).mean()),
        lambda_mean=float(shift.mean()),
        lambda_spread=float(shift.std(dim=0, unbiased=False).mean()),
        **units,
    )


def _affine(layer: nn.Module, x: Tensor) -> Entry:
    n = len(x)
    if isinstance(layer, DynamicNorm):
        affine = layer.affine(x)
        return tuple(value.expand(n, -1) for value in affine)
    norm = layer.bn if isinstance(layer, SEBN) else layer
    return norm.weight.expand(n, -1), norm.bias.expand(n, -1), None
