"""Checks of what configurations pass to the backbones; every message names argument and value."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

__all__ = [
    'check_expansion_indices',
    'check_fold_activation',
    'check_int',
    'check_numbers',
    'check_out_indices',
    'check_positive',
]


def check_int(name: str, value: int, low: int, high: int | None = None) -> int:
    """The value, a whole number from ``low`` to ``high``, both included.

    Args:
        name (str): Of the argument.
        value (int): Its value.
        low (int): The least that is right.
        high (int, optional): The most that is right; None for no limit.

    Raises:
        ValueError: It is something else.
    """
    if not _is_int(value) or value < low or (high is not None and value > high):
        raise ValueError(f'{name} must be {_range(low, high)}, but got {value!r}')
    return int(value)


def check_positive(name: str, value: float) -> float:
    """The value, a finite number above 0.

    Raises:
        ValueError: It is something else.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and value > 0 and math.isfinite(value)):
        raise ValueError(f'{name} must be above 0, but got {value!r}')
    return value


def check_numbers(
    name: str, values: Sequence[int], count: int, low: int, high: int | None = None, each: str = ''
) -> tuple[int, ...]:
    """The values, one whole number from ``low`` to ``high`` for each stage.

    Args:
        name (str): Of the argument.
        values (Sequence[int]): Its value.
        count (int): How many there must be.
        low (int): The least that is right.
        high (int, optional): The most that is right; None for no limit.
        each (str): What there must be one for. Defaults to the stages.

    Raises:
        ValueError: They are something else.
    """
    right = _is_collection(values) and len(values) == count and all(map(_is_int, values))
    if not right or min(values) < low or (high is not None and max(values) > high):
        raise ValueError(
            f'{name} must be {count} numbers, each {_range(low, high)}, one for each '
            f'{each or "stage"}, but got {_shown(values)}'
        )
    return tuple(map(int, values))


def check_out_indices(values: Sequence[int], stages: int) -> tuple[int, ...]:
    """The values, some of the stages, which are counted from 0, each once.

    Args:
        values (Sequence[int]): ``out_indices``.
        stages (int): How many there are.

    Raises:
        ValueError: They are something else, or none.
    """
    right = _is_collection(values) and len(values) > 0 and all(map(_is_int, values))
    if not right or not set(values) <= set(range(stages)):
        raise ValueError(
            f'out_indices must be stages of 0 to {stages - 1}, but got {_shown(values)}'
        )
    if len(set(values)) < len(values):
        raise ValueError(f'out_indices must name each stage once, but got {_shown(values)}')
    return tuple(map(int, values))


def check_expansion_indices(
    values: Sequence[int], out_indices: Sequence[int], last: int
) -> tuple[int, ...]:
    """The values, some of the output stages, whose expansion is returned in place of the output.

    Args:
        values (Sequence[int]): ``expansion_indices``.
        out_indices (Sequence[int]): As :func:`check_out_indices` returned them.
        last (int): The last stage with an expansion; the first one is 1.

    Raises:
        ValueError: They are something else.
    """
    right = _is_collection(values) and all(map(_is_int, values))
    if not right or not set(values) <= (set(out_indices) & set(range(1, last + 1))):
        raise ValueError(
            f'expansion_indices must be a subset of out_indices and of 1 to {last} (stage 0 has no '
            f'expansion and {last + 1} is a single convolution), but got {_shown(values)} '
            f'with out_indices={out_indices}'
        )
    return tuple(map(int, values))


def check_fold_activation(value: bool | str) -> bool | str:
    """The value, whether DN-B layers apply the activations behind them, and how.

    Raises:
        ValueError: It is something else than True, False and 'recompute'.
    """
    if value not in (True, False, 'recompute'):
        raise ValueError(f"fold_activation must be True, False or 'recompute', but got {value!r}")
    return value


def _range(low: int, high: int | None) -> str:
    if high is None:
        return f'{low} or more'
    return f'{low} or {high}' if high == low + 1 else f'{low} to {high}'


def _is_int(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_collection(values: Any) -> bool:
    return isinstance(values, Collection) and not isinstance(values, (str, bytes, Mapping))


def _shown(values: Any) -> str:
    return repr(tuple(values) if _is_collection(values) else values)
