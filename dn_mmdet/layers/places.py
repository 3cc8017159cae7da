"""Where the layers of a model are, which of them are meant, and others put in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, Union

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.text import first_few
from .dynamic_norm import DynamicNorm
from .se_bn import SEBN

__all__ = ['Place', 'Where', 'find_layers', 'replace_layers', 'select_layers']

# Evaluated, which Python 3.9 cannot do with `|`.
Where = Union[Callable[[str, nn.Module], bool], str, Sequence[str]]  # noqa: UP007


class Place(NamedTuple):
    """Where a layer is.

    Attributes:
        path (str): A name of it in the model; '' for the model itself.
        layer (nn.Module): What is there.
        parent (nn.Module): What holds it.
        name (str): Under which name.
    """

    path: str
    layer: nn.Module
    parent: nn.Module
    name: str


def find_layers(
    model: nn.Module, wanted: Callable[[nn.Module], bool], kinds: str
) -> tuple[nn.Module, list[Place]]:
    """All places of a kind of layer; the inside of DN-B, DN-C and SE + BN is left out.

    Args:
        model (nn.Module): Any.
        wanted (Callable): Whether a module is of the kind.
        kinds (str): The kind in words, for the message.

    Returns:
        tuple[nn.Module, list[Place]]: What holds the model as ``model``, so that it has a place
        itself, and the places.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: It has no such layer, or is wrapped for several processes.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got {type(model).__name__}')
    top = nn.Module()
    top.model = model
    every = [place._replace(path=place.path[len('model.') :]) for place in _places(top)]
    if any(isinstance(place.layer, DistributedDataParallel) for place in every):
        raise ValueError(
            'model is wrapped in DistributedDataParallel, which would not know the new '
            'parameters: convert model.module, then wrap it'
        )
    found = [place for place in every if wanted(place.layer)]
    if not found:
        # By the name, since every library has norms of its own.
        norms = {
            type(place.layer).__name__
            for place in every
            if isinstance(place.layer, (DynamicNorm, SEBN)) or 'Norm' in type(place.layer).__name__
        }
        named = ', '.join(sorted(norms))
        known = f'its norm layers are {named}' if norms else 'it has no norm layers'
        raise ValueError(f'{type(model).__name__} has no {kinds} to convert: {known}')
    return top, found


def select_layers(places: Sequence[Place], where: Where | None) -> list[Place]:
    """Those that are meant; a layer in several places is meant if one of them is.

    Args:
        places (Sequence[Place]): At least one.
        where (Callable | str | Sequence[str], optional): Called with the path and the layer, or
            patterns, with ``*``, ``?`` and ``[...]`` as in file names, for the path of a layer or
            of a module that it is in; '*' also means a layer that is the model itself, and ''
            nothing. None means all.

    Raises:
        TypeError: ``where`` is of another type.
        ValueError: It, or one of its patterns, selects nothing.
    """
    if where is None:
        return _once(places)
    if callable(where):
        rules = [where]
    else:
        patterns = [where] if isinstance(where, str) else where
        if not isinstance(patterns, (list, tuple, set)) or not all(
            isinstance(pattern, str) for pattern in patterns
        ):
            raise TypeError(
                'where must be a callable (name, module) -> bool, a pattern or a list of '
                f'patterns, got {where!r}'
            )
        rules = list(patterns)
    chosen = set()
    for rule in rules:
        meant = {place.layer for place in places if _is_meant(place, rule)}
        if not meant:
            raise ValueError(_nothing(places, rule))
        chosen |= meant
    if not chosen:
        raise ValueError(_nothing(places, where))
    return _once([place for place in places if place.layer in chosen])


def replace_layers(places: Sequence[Place], made: Mapping[nn.Module, nn.Module]) -> None:
    """Put other layers where these are.

    Args:
        places (Sequence[Place]): From :func:`select_layers`.
        made (Mapping[nn.Module, nn.Module]): Old layer to new one.
    """
    for place in places:
        place.parent.add_module(place.name, made[place.layer])


def _places(module: nn.Module, prefix: str = '', above: tuple = ()) -> Iterator[Place]:
    """All, by each of its paths: a module that holds layers may itself be in several places."""
    for name, child in module._modules.items():
        if child is None:
            continue
        yield Place(f'{prefix}{name}', child, module, name)
        if child not in above and not isinstance(child, (DynamicNorm, SEBN)):
            yield from _places(child, f'{prefix}{name}.', (*above, child))


def _once(places: Sequence[Place]) -> list[Place]:
    """The first path of each."""
    first = {}
    for place in places:
        first.setdefault((place.parent, place.name), place)
    return list(first.values())


def _is_meant(place: Place, rule: Callable[[str, nn.Module], bool] | str) -> bool:
    if callable(rule):
        return bool(rule(place.path, place.layer))
    parts = place.path.split('.')
    # A pattern that was left empty would mean a layer that is the model itself, and no other.
    names = ('.'.join(parts[:end]) for end in range(1, len(parts) + 1))
    return rule != '' and any(fnmatchcase(name, rule) for name in names)


def _nothing(places: Sequence[Place], where: object) -> str:
    kinds = sorted({type(place.layer).__name__ for place in places})
    itself = "the model itself, which '*' selects"
    names = first_few(repr(place.path) if place.path else itself for place in places)
    return f'where={where!r} selects none of the {len(places)} {"/".join(kinds)}: {names}'
