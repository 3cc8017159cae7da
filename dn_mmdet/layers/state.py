"""All that is known of the keys and the metadata of the layers in a state dict.

The layers say what they are in the metadata that torch keeps next to the weights
(``state_dict._metadata``), since DN-B and DN-C have the same keys, and so has every form of their
SC-Module. It passes through ``torch.save``, ``torch.load(weights_only=True)`` and mmengine's
Runner. Weights that come without it are taken as they are.

Of the form a state says what the first layer sees and the two factors of :class:`.ops.sc.SCForm`,
since version 2 of the layers; before, the factors were 1, and what it saw was not told: 'raw'
unless a configuration said otherwise.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..ops.sc import SC_INPUTS
from ..utils.python39 import zip_strict

__all__ = [
    'PLAIN',
    'TWINS',
    'UNTOLD',
    'adapt_form',
    'dynamic_norm_from_plain_state',
    'form_mismatch',
    'form_of',
    'inner_bn_from_bn_state',
    'mark_norm',
    'norm_mismatch',
    'norms_of',
    'rekeyed',
]

# Kinds with the same keys, and what a state without metadata is called that has them, with
# statistics or without.
TWINS, SAMPLE_NORMS = ('DNB', 'DNC'), ('DNGN', 'DNIN', 'DNLN')
UNTOLD, UNTOLD_SAMPLE = 'DNB or DNC', 'DNGN, DNIN or DNLN'
# BatchNorms without statistics are untold as well.
DYNAMIC = {*TWINS, *SAMPLE_NORMS}
MEANINGS = {UNTOLD: {*TWINS}, UNTOLD_SAMPLE: DYNAMIC}
# What only has gamma and beta.
PLAIN = 'GN, IN or LN'
FORM = ('sc_input', 'fc1_scale', 'fc2_scale')
STATISTICS = ('running_mean', 'running_var', 'num_batches_tracked')
# What the SC-Module of version 1 saw unless it was said.
FIRST_SC_INPUT = 'raw'


def dynamic_norm_from_plain_state(layer: nn.Module, state: dict[str, Any], prefix: str) -> bool:
    """Rewrite the state of a plain norm as that of a layer with offsets and an SC-Module.

    Gamma and beta (1 and 0 where the norm had none) go to the offsets, statistics to ``layer.bn``,
    and the last weight of the SC-Module becomes 0, so the layer then computes what the plain norm
    did. Of a BatchNorm that has one of gamma and beta the other stays missing: it has both or
    neither, so that one was lost. What is no state of a plain norm, or has statistics where the
    layer has no BatchNorm, is left alone.

    Args:
        layer (nn.Module): Has ``sc``, ``alpha_offset`` and ``lambda_offset``, and ``bn`` where its
            norm is a BatchNorm.
        state (dict): Changed in place.
        prefix (str): What the keys of this layer start with.

    Returns:
        bool: Whether it was a plain norm's.
    """
    foreign = not hasattr(layer, 'bn') and f'{prefix}running_mean' in state
    if foreign or not _is_plain_state(state, prefix):
        return False
    _move(state, prefix, STATISTICS, 'bn.')
    offsets = dict(
        alpha_offset=state.pop(f'{prefix}weight', None),
        lambda_offset=state.pop(f'{prefix}bias', None),
    )
    alone = sum(value is None for value in offsets.values()) == 1
    if not (alone and f'{prefix}bn.running_mean' in state):
        start = dict(
            alpha_offset=torch.ones_like(layer.alpha_offset),
            lambda_offset=torch.zeros_like(layer.lambda_offset),
        )
        offsets = {k: start[k] if value is None else value for k, value in offsets.items()}
    state.update({f'{prefix}{k}': v for k, v in offsets.items() if v is not None})
    for name, value in layer.sc.state_dict().items():
        state[f'{prefix}sc.{name}'] = value
    state[f'{prefix}sc.fc2_weight'] = torch.zeros_like(layer.sc.fc2_weight)
    return True


def inner_bn_from_bn_state(layer: nn.Module, state: dict[str, Any], prefix: str) -> None:
    """Rewrite the state of a BatchNorm as that of a layer whose ``bn`` it is.

    The other parameters and buffers keep the values that they have in ``layer``. A state that is
    not a BatchNorm's is left alone.

    Args:
        layer (nn.Module): Has an affine ``bn``.
        state (dict): Changed in place.
        prefix (str): What the keys of this layer start with.
    """
    if not _is_plain_state(state, prefix):
        return
    _move(state, prefix, ('weight', 'bias', *STATISTICS), 'bn.')
    for name, value in layer.state_dict().items():
        if not name.startswith('bn.') or name in ('bn.weight', 'bn.bias'):
            state.setdefault(f'{prefix}{name}', value)


def form_of(layer: nn.Module) -> dict[str, Any]:
    """What a state says of how the weights of a layer's SC-Module enter.

    Args:
        layer (nn.Module): Has ``sc``, and ``sc_input`` if what it sees is a choice.
    """
    sc = layer.sc
    values = getattr(layer, 'sc_input', None), sc.fc1_scale, sc.fc2_scale
    return dict(zip_strict(FORM, values))


def adapt_form(layer: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> str:
    """Rewrite weights of an SC-Module for a layer with other factors, which then computes the same.

    A layer that was not told what its SC-Module sees takes that from the weights.

    Args:
        layer (nn.Module): As in :func:`form_of`; its ``sc_input`` may change.
        state (dict): Changed in place.
        prefix (str): What the keys of this layer start with.
        metadata (Any): What the state says of this layer.

    Returns:
        str: Why the weights mean something else in this layer, to which nothing was done then;
        '' otherwise.
    """
    given = _told_form(metadata)
    if given is None or f'{prefix}sc.fc1_weight' not in state:
        return ''
    own = form_of(layer)
    if _is_untold(layer) and (seen := _seen(given, own)):
        layer.sc_input = own['sc_input'] = seen
    if reason := _why_inconvertible(given, own):
        return reason
    for name in ('fc1', 'fc2'):
        key, ratio = f'{prefix}sc.{name}_weight', given[f'{name}_scale'] / own[f'{name}_scale']
        if ratio != 1 and key in state:
            state[key] = state[key] * ratio
    return ''


def form_mismatch(
    model: nn.Module, state: Mapping[str, Tensor], converted: bool = True, told: bool = True
) -> tuple[str, int] | None:
    """Whether the SC-Modules of a checkpoint are of a form in which the model cannot take them.

    Args:
        model (nn.Module): The model.
        state (Mapping[str, Tensor]): Key to weights; the keys as the model has them.
        converted (bool): Whether weights may be rewritten for other factors. Defaults to True.
        told (bool): Whether the metadata reach the layers: without, nothing is rewritten, and no
            layer takes from them what its SC-Module sees. Defaults to True.

    Returns:
        tuple[str, int] | None: Why, of the first layer, and the number of layers that differ; None
        if none does.
    """
    own = model.state_dict()
    metadata = _as_mapping(getattr(state, '_metadata', None))
    kinds, reasons = norms_of(state), []
    for place, kind in norms_of(own).items():
        given = _told_form(metadata.get(place))
        if given is None or not _meanings(kind) & _meanings(kinds.get(place)) & DYNAMIC:
            continue
        wanted = _told_form(own._metadata[place])
        layer = model.get_submodule(place)
        # The norm of a NormAct has the place, and the metadata, of the whole.
        if _is_untold(getattr(layer, 'norm', layer)) and (seen := _seen(given, wanted)):
            (wanted if told else given)['sc_input'] = seen
        reason, others = _why_inconvertible(given, wanted), {'sc_input': None}
        if not reason and not (converted and told) and given | others != wanted | others:
            reason = (
                f'the weights were trained with {_worded(given)} and the layer has '
                f'{_worded(wanted)}, for which they would not be converted: give it the former'
            )
        reasons += [reason] if reason else []
    return (reasons[0], len(reasons)) if reasons else None


def mark_norm(
    state: dict[str, Any], prefix: str, kind: str, form: Mapping[str, Any] | None = None
) -> None:
    """Say in the metadata of a state which layer its keys are of.

    Args:
        state (dict): What ``state_dict`` is filling. Torch and mmengine put metadata next to
            it before a layer saves its keys; others that do not get none.
        prefix (str): What the keys of the layer start with.
        kind (str): 'DNB', 'DNC', 'DNGN', 'DNIN', 'DNLN' or 'SEBN'.
        form (Mapping, optional): From :func:`form_of`. Defaults to None, without an SC-Module.
    """
    metadata = getattr(state, '_metadata', None)
    if metadata is not None:
        metadata.setdefault(prefix[:-1], {}).update({'norm': kind, **(form or {})})


def norms_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The norm layers that a state dict holds, by their keys.

    Args:
        state (Mapping[str, Tensor]): Key to weights, with or without metadata. All that is taken
            from the metadata is which of the dynamic norms a layer is.

    Returns:
        dict[str, str]: Place of each layer to its kind: 'BN' (with statistics), :data:`PLAIN`
        (without), 'DNB', 'DNC', 'DNGN', 'DNIN', 'DNLN', 'SEBN', or :data:`UNTOLD` or
        :data:`UNTOLD_SAMPLE`, where the metadata does not say which.
    """
    metadata = _as_mapping(getattr(state, '_metadata', None))
    kinds = {}
    for key, value in state.items():
        place, _, name = key.rpartition('.')
        prefix = f'{place}.' if place else ''
        if name == 'alpha_offset':
            kind = _as_mapping(metadata.get(place)).get('norm')
            untold = UNTOLD if f'{prefix}bn.running_mean' in state else UNTOLD_SAMPLE
            kinds[place] = kind if isinstance(kind, str) and kind in DYNAMIC else untold
        elif name == 'running_mean':
            outer, _, member = place.rpartition('.')
            beside = f'{outer}.' if outer else ''
            if member == 'bn' and f'{beside}fc1_weight' in state:
                kinds[outer] = 'SEBN'
            elif not (member == 'bn' and f'{beside}alpha_offset' in state):
                kinds[place] = 'BN'
        elif name == 'weight':
            shape = getattr(state.get(f'{prefix}bias'), 'shape', ())
            alike = len(shape) == 1 and getattr(value, 'shape', None) == shape
            if alike and f'{prefix}running_mean' not in state:
                kinds[place] = PLAIN
    return kinds


def rekeyed(
    state: Mapping[str, Tensor], rename: Callable[[str], str | None]
) -> OrderedDict[str, Tensor]:
    """A state dict under other keys, with its metadata.

    Args:
        state (Mapping[str, Tensor]): Key to weights.
        rename (Callable): Maps a key, or what the keys of a place start with, to another; None
            leaves it out.
    """
    result = OrderedDict()
    for key, value in state.items():
        if (name := rename(key)) is not None:
            result[name] = value
    result._metadata = OrderedDict()
    for place, told in _as_mapping(getattr(state, '_metadata', None)).items():
        if (prefix := rename(f'{place}.' if place else '')) is not None:
            result._metadata[prefix.removesuffix('.')] = told
    return result


def norm_mismatch(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, str, int] | None:
    """Whether the norm layers of a checkpoint are of another kind than the model's.

    Args:
        model (nn.Module): The model.
        state (Mapping[str, Tensor]): Key to weights; the keys as the model has them.

    Returns:
        tuple[str, str, int] | None: Kind in the checkpoint and kinds in the model, as
        :func:`norms_of` names them, and the number of layers that differ; None if none does.
    """
    own, given = norms_of(model.state_dict()), norms_of(state)
    differing = [place for place in own if place in given and _differ(own[place], given[place])]
    if not differing:
        return None
    kinds = sorted({own[place] for place in differing})
    return given[differing[0]], ' and '.join(kinds), len(differing)


def _differ(kind: str, other: str) -> bool:
    return not _meanings(kind) & _meanings(other)


def _meanings(kind: str | None) -> set[str | None]:
    return MEANINGS.get(kind, {kind})


def _told_form(metadata: Any) -> dict[str, Any] | None:
    """The form that the metadata of a layer give; None where they do not, or are damaged."""
    told = _as_mapping(metadata)
    if any(name in told for name in FORM[1:]):
        given = {name: told.get(name) for name in FORM}
        scales_fit = all(
            type(given[name]) is float and 0 < given[name] < math.inf for name in FORM[1:]
        )
        return given if scales_fit and given['sc_input'] in (None, *SC_INPUTS) else None
    return dict(zip_strict(FORM, (None, 1.0, 1.0))) if told.get('version') == 1 else None


def _is_untold(layer: nn.Module) -> bool:
    """Whether nobody said what the SC-Module of a layer sees."""
    return not getattr(layer, 'sc_input_given', True)


def _seen(given: Mapping[str, Any], own: Mapping[str, Any]) -> str | None:
    """What the SC-Module saw that weights are of; None where they do not tell.

    The first version, which does not, had but one parameterization, and 'raw' unless it was asked.
    """
    first = FIRST_SC_INPUT if given['fc1_scale'] == own['fc1_scale'] else None
    return given['sc_input'] or first


def _why_inconvertible(given: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Why no factor makes the same function of the weights; '' where one does."""
    seen, sees = given['sc_input'], own['sc_input']
    if seen and sees and seen != sees:
        return (
            f'the weights were trained with sc_input={seen!r} and the layer has '
            f'sc_input={sees!r}: give it sc_input={seen!r}'
        )
    if sees and not seen and given['fc1_scale'] != own['fc1_scale']:
        return (
            f'the weights were trained with {_worded(given)} by a version that did not record '
            f'sc_input, so they cannot be converted to {_worded(own)}: load them into a layer of '
            'the form in which they were trained, and save them again'
        )
    return ''


def _worded(form: Mapping[str, Any]) -> str:
    name = 'paper' if form['fc1_scale'] == 1 else 'conditioned'
    return f"parameterization='{name}' and gain={form['fc2_scale']:.4g}"


def _as_mapping(value: Any) -> Mapping:
    """A file can give anything as metadata."""
    return value if isinstance(value, Mapping) else {}


def _is_plain_state(state: dict[str, Any], prefix: str) -> bool:
    return f'{prefix}weight' in state or f'{prefix}running_mean' in state


def _move(state: dict[str, Any], prefix: str, names: tuple[str, ...], target: str) -> None:
    for name in names:
        if f'{prefix}{name}' in state:
            state[f'{prefix}{target}{name}'] = state.pop(f'{prefix}{name}')
