"""Comparing the weights in a checkpoint with a model, key by key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from .check_images import some

__all__ = ['StateMatch', 'match_state', 'norm_mismatch']


@dataclass(frozen=True)
class StateMatch:
    """How a state dict fits a model.

    Args:
        matched (int): Number of keys of the model that are given, in the right shape.
        missing (list[str]): Keys of the model that are not given.
        unexpected (list[str]): Keys that the model does not have.
        reshaped (list[str]): Keys of the model that are given in another shape.
    """

    matched: int
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __str__(self):
        total = self.matched + len(self.missing) + len(self.reshaped)
        parts = [f'{self.matched} of the {total} keys of the model match']
        for keys, what in (
            (self.missing, 'missing'),
            (self.unexpected, 'unexpected'),
            (self.reshaped, 'of another shape'),
        ):
            if keys:
                parts.append(
                    f'{len(keys)} {"is" if len(keys) == 1 else "are"} {what} ({some(keys)})'
                )
        return ', '.join(parts)


def match_state(model: nn.Module, state: Mapping[str, Tensor]) -> StateMatch:
    """Load a state dict into a model and report the fit; nothing is raised.

    The loading is real, so that what layers do to old or foreign keys when they load is done
    here too. As in mmengine, the counter of batches of a BatchNorm may be missing.

    Args:
        model (nn.Module): Is changed.
        state (Mapping[str, Tensor]): Key to weights.

    Returns:
        StateMatch: The fit.
    """
    missing, unexpected, errors = [], [], []

    def load(module: nn.Module, local: dict, prefix: str) -> None:
        module._load_from_state_dict(local, prefix, {}, True, missing, unexpected, errors)
        for name, child in module._modules.items():
            if child is not None:
                inner = f'{prefix}{name}.'
                load(child, {k: v for k, v in local.items() if k.startswith(inner)}, inner)

    load(model, dict(state), '')
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    reshaped = [
        match[1] for error in errors if (match := re.match(r'size mismatch for (\S+):', error))
    ]
    matched = sum(not key.endswith('num_batches_tracked') for key in model.state_dict())
    return StateMatch(matched - len(missing) - len(reshaped), missing, unexpected, reshaped)


def norm_mismatch(model: nn.Module, state: Mapping[str, Tensor]) -> tuple[str, str, int] | None:
    """Whether the norm layers of a checkpoint are of another kind than the model's.

    Args:
        model (nn.Module): The model.
        state (Mapping[str, Tensor]): Key to weights; the keys as the model has them.

    Returns:
        tuple[str, str, int] | None: Kind in the checkpoint, kind in the model ('BN', 'DNB' or
        'DNC', 'SEBN') and the number of layers that differ; None if none does.
    """
    own, given = _norm_kinds(model.state_dict()), _norm_kinds(state)
    differing = [place for place in own if place in given and own[place] != given[place]]
    if not differing:
        return None
    modules = dict(model.named_modules())
    names = {type(modules[place]).__name__ for place in differing}
    kind = ' and '.join(sorted(names)).replace('_BatchNormXd', 'BN').replace('BatchNorm2d', 'BN')
    return given[differing[0]], kind, len(differing)


def _norm_kinds(keys: Mapping[str, Tensor]) -> dict[str, str]:
    """Place of every norm layer to its kind, from the names of its weights alone."""
    kinds = {}
    for key in keys:
        place, _, name = key.rpartition('.')
        if name != 'running_mean':
            continue
        outer = place.rpartition('.')[0]
        if f'{outer}.sc.fc1_weight' in keys:
            kinds[outer] = 'DNB or DNC'
        elif f'{outer}.fc1_weight' in keys:
            kinds[outer] = 'SEBN'
        else:
            kinds[place] = 'BN'
    return kinds
