"""From the names and layouts of one library to those of mmdet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ..layers.state import rekeyed
from .architecture import Unit, find_backbone
from .conventions import CONVENTIONS, OWN, Convention

__all__ = ['Translation', 'foreign_names', 'places', 'translate']

BN_NAMES = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
KERAS_NAMES = {
    'kernel': 'weight',
    'depthwise_kernel': 'weight',
    'bias': 'bias',
    'gamma': 'weight',
    'beta': 'bias',
    'moving_mean': 'running_mean',
    'moving_variance': 'running_var',
}
BACKBONE = 'backbone.'

# What a key is called after prefixes and spellings are gone, to the key in the file and its value.
Given = dict[str, tuple[str, Tensor]]


@dataclass(frozen=True)
class Translation:
    """Weights under the names of a model.

    Args:
        convention (Convention): Whose names they had.
        architecture (str): 'MobileNetV2' or 'ResNet', or '' with :data:`OWN`.
        state (dict[str, Tensor]): Those that the convention names, under the keys of the model;
            with :data:`OWN`, all.
        known (int): Number of keys in the file that are names of the convention.
        left_over (list[str]): Keys in the file that are not in ``state``; with :data:`OWN`, none.
    """

    convention: Convention
    architecture: str
    state: dict[str, Tensor]
    known: int
    left_over: list[str]


def translate(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Translation:
    """Give weights the names that a model has for them.

    The convention is the one that knows most keys of the file, mmdet's own at first. Shapes are not
    compared. A kernel of Keras is turned around, and the bias of a convolution, which those of
    mmdet do not have, is taken off the mean of the BatchNorm behind it.

    Args:
        state (Mapping[str, Tensor]): Names in the file to weights.
        own (Mapping[str, Tensor]): State dict of the model with BatchNorm, or of its backbone.

    Returns:
        Translation: Of the convention that fits best, however badly.
    """
    return max(_translations(state, own), key=lambda each: each.known)


def foreign_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Translation | None:
    """The translation of a file that does not have the names of a model, but others that are known.

    Args:
        state (Mapping[str, Tensor]): Names in the file to weights.
        own (Mapping[str, Tensor]): State dict of the model, with any norm, or of its backbone.

    Returns:
        Translation | None: None if no translation has more keys of the model than the file itself.
    """
    plain, *others = _translations(state, own)

    def fitting(each: Translation) -> int:
        # The convolutions, which have the same keys whatever the norm is.
        return sum(key in own for key in each.state)

    best = max(others, key=fitting, default=plain)
    return best if fitting(best) > fitting(plain) else None


def places(owner: str, own: Mapping[str, Tensor]) -> dict[str, str]:
    """Where a library has the convolutions and norms of a backbone.

    Args:
        owner (str): Whose names, as 'mmpretrain'.
        own (Mapping[str, Tensor]): State dict of the backbone, with any norm.

    Returns:
        dict[str, str]: Places there to places in the backbone.
    """
    convention = next(each for each in CONVENTIONS if each.owner == owner)
    architecture, prefix, units = find_backbone(own)
    found = {}
    for unit in units:
        conv, norm = convention.naming[architecture](unit)
        found.update({conv: prefix + unit.conv, norm: prefix + unit.norm})
    return found


def _translations(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[Translation]:
    # As they are, or a backbone that stands alone on one side and in a model on the other.
    variants = [
        state,
        rekeyed(state, lambda key: f'{BACKBONE}{key}'),
        rekeyed(state, lambda key: key.removeprefix(BACKBONE)),
    ]
    found, theirs = find_backbone(own), find_backbone(state)
    if found and theirs:
        # In a model of another build, as DETR's in backbone.0.body.
        variants.append(
            rekeyed(
                state,
                lambda key: found[1] + key[len(theirs[1]) :] if key.startswith(theirs[1]) else key,
            )
        )
    known, best = max(
        ((sum(key in own for key in each), each) for each in variants), key=lambda pair: pair[0]
    )
    yield Translation(OWN, '', dict(best), known, [])
    if found:
        for convention in CONVENTIONS:
            yield _translated(state, own, convention, *found)


def _translated(
    state: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    convention: Convention,
    architecture: str,
    prefix: str,
    units: list[Unit],
) -> Translation:
    names = [(unit, *convention.naming[architecture](unit)) for unit in units]
    heads = convention.heads[architecture]
    given = (
        _from_keras(state, {name for _, *pair in names for name in pair}.union(heads))
        if convention.keras
        else {key.removeprefix(BACKBONE): (key, value) for key, value in state.items()}
    )
    result, used, known = {}, set(), 0

    def take(name: str, target: str) -> None:
        if name in given:
            used.add(given[name][0])
            result[target] = given[name][1]

    for unit, conv, norm in names:
        take(f'{conv}.weight', f'{prefix}{unit.conv}.weight')
        for name in BN_NAMES:
            take(f'{norm}.{name}', f'{prefix}{unit.norm}.{name}')
        mean = f'{prefix}{unit.norm}.running_mean'
        if f'{conv}.bias' in given and mean in result:
            key, bias = given[f'{conv}.bias']
            used.add(key)
            result[mean] = result[mean] - bias
    head = {
        f'{name}.{part}': f'fc.{part}' for name in heads for part in ('weight', 'bias')
    }  # 'fc' is what this package's classifier calls it.
    known = len(used | {given[name][0] for name in head if name in given})
    if 'fc.weight' in own:
        for name, target in head.items():
            take(name, target)
    left_over = [key for key in state if key not in used]
    return Translation(convention, architecture, result, known, left_over)


def _from_keras(state: Mapping[str, Tensor], layers: set[str]) -> Given:
    """``block_1_expand/block_1_expand/kernel:0`` and the like become ``block_1_expand.weight``."""
    given: Given = {}
    for key, value in state.items():
        *places, variable = re.sub(r':\d+$', '', key).replace('.', '/').split('/')
        layer = next((place for place in reversed(places) if place in layers), None)
        if layer and variable in KERAS_NAMES:
            given.setdefault(f'{layer}.{KERAS_NAMES[variable]}', (key, _turned(value, variable)))
    return given


def _turned(value: Tensor, variable: str) -> Tensor:
    if value.dim() == 2:  # (in, out)
        return value.t().contiguous()
    if value.dim() != 4:
        return value
    # (H, W, in, out), or (H, W, C, 1) of a depthwise one, whatever its variable is called.
    depthwise = variable == 'depthwise_kernel' or value.shape[3] == 1
    return value.permute(*((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))).contiguous()
