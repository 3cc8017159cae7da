"""Checking that what a configuration names by type can be built from the arguments beside it.

The Runner builds hooks, data sets, transforms and the like when its log folder exists.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from inspect import Parameter as Argument
from typing import Any

import torch
from mmengine import registry as registries
from mmengine.registry import HOOKS, OPTIMIZERS, PARAM_SCHEDULERS, TRANSFORMS, Registry
from torch.nn import Parameter
from torch.optim import SGD

from ...utils.errors import UserError
from ...utils.text import first_few
from .parts import typed_parts
from .planned import PlannedRun, silence
from .registries import config_mistakes, dicts_in, find_type
from .schedule import training_length

__all__ = ['check_arguments']

# By registry: what mmengine itself gives, and what it takes out beforehand.
GIVEN = {
    registries.DATA_SAMPLERS: {'dataset', 'seed', 'sampler', 'batch_size'},
    registries.OPTIM_WRAPPERS: {'optimizer'},
    registries.PARAM_SCHEDULERS: {'optimizer'},
    registries.VISUALIZERS: {'name', 'save_dir'},
    registries.VISBACKENDS: {'save_dir'},
}
TAKEN_OUT = {
    registries.HOOKS: {'priority'},
    registries.OPTIM_WRAPPERS: {'paramwise_cfg', 'constructor'},
    registries.PARAM_SCHEDULERS: {'convert_to_iter_based', 'epoch_length'},
    registries.VISBACKENDS: {'name'},
}
# Building one of these packages' does nothing else, and their constructors look at the values.
KNOWN_PACKAGES = ('dn_mmdet', 'mmcv', 'mmdet', 'mmengine')
NAMED = (Argument.POSITIONAL_OR_KEYWORD, Argument.KEYWORD_ONLY)


def check_arguments(run: PlannedRun) -> None:
    """Check the arguments of hooks, metrics, data sets, transforms, samplers and the like.

    Hooks, transforms and schedulers of mmengine, mmcv, mmdet and this package are built besides;
    they are thrown away.

    Raises:
        UserError: An argument is missing, or is none that the class takes, or the class refuses
            its value.
    """
    for key, part, registry in typed_parts(run.cfg):
        if _is_built(run, key, part):
            with run.going_on():
                _check_part(run, key, part, registry)


@dataclass(frozen=True)
class _Signature:
    """The arguments that a class can be given by name.

    Args:
        names (tuple[str, ...]): Of all that are known, in their order.
        required (tuple[str, ...]): Of those without a default.
        open (bool): Whether others may be taken too.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    open: bool


def _is_built(run: PlannedRun, key: str, part: Mapping) -> bool:
    """Whether the run builds a part, and in the way that is known here."""
    top = key.partition('.')[0]
    owner, _, kind = top.partition('_')
    if kind in ('dataloader', 'evaluator'):
        return owner in run.looked_at()
    if run.survey:
        return False
    if top == 'optim_wrapper':  # whose constructor decides what becomes of its keys
        wrapper = run.cfg.optim_wrapper
        return run.mode == 'train' and wrapper.get('constructor') is None
    if top == 'param_scheduler':
        return run.mode == 'train' and 'type' in part
    return kind != 'cfg'  # loops: see check_schedule


def _check_part(run: PlannedRun, key: str, part: Mapping, registry: Registry) -> None:
    type_ = part.get('type', _default_type(registry))
    found = find_type(registry, type_)
    signature = _signature(found) if callable(found) else None
    if signature is None:
        return
    name = getattr(found, '__name__', type_)
    given = GIVEN.get(registry, set())
    if registry is OPTIMIZERS:
        given = set(signature.names[:1])
    own = set(part) - {'type', '_scope_'} - TAKEN_OUT.get(registry, set())
    known = [argument for argument in signature.names if argument not in given]
    unknown = [argument for argument in own if argument not in signature.names]
    if unknown and not signature.open:
        near = get_close_matches(unknown[0], known, n=1, cutoff=0.6)
        takes = f'it takes {first_few(known, 10)}' if known else 'it takes none'
        raise UserError(
            f'{key} has the argument {unknown[0]!r}, which {name} does not take: '
            f'{f"did you mean {near[0]!r}?" if near else f"{takes}."}'
        )
    missing = [argument for argument in signature.required if argument not in own | given]
    if missing:
        raise UserError(
            f'{key} lacks {" and ".join(map(repr, missing))}, without which no {name} can be '
            f'built: set {first_few(f"{key}.{argument}" for argument in missing)}.'
        )
    if registry in (HOOKS, TRANSFORMS, PARAM_SCHEDULERS):
        cleaned = {k: v for k, v in part.items() if registry is not HOOKS or k != 'priority'}
        # A transform may be made of others.
        types = [value.get('type') for _, value in dicts_in(part, key)]
        if all(_is_known(find_type(registry, inner)) for inner in types):
            _try(run, f'{key} ({name})', lambda: _build(run, registry, deepcopy(cleaned)))


def _default_type(registry: Registry) -> str | None:
    """What mmengine builds where a dict has no type."""
    if registry is registries.EVALUATOR:
        return 'Evaluator'
    return 'OptimWrapper' if registry is registries.OPTIM_WRAPPERS else None


def _is_known(found: Any) -> bool:
    module = getattr(found, '__module__', None)
    return module is None or module.partition('.')[0] in KNOWN_PACKAGES


def _build(run: PlannedRun, registry: Registry, part: dict[str, Any]) -> Any:
    if registry is not PARAM_SCHEDULERS:
        return registry.build(part)
    # The Runner adds an optimizer, and the end of the run.
    defaults = {'optimizer': SGD([Parameter(torch.zeros(1))], lr=1, momentum=0.9)}
    length = training_length(run.cfg)
    if length and length[0] == ('epoch' if part.get('by_epoch', True) else 'iteration'):
        defaults['end'] = length[1]
    return registry.build(part, default_args={**defaults, 'epoch_length': 1})


def _try(run: PlannedRun, what: str, build: Callable[[], Any]) -> None:
    try:
        with silence(), config_mistakes(run.cfg, what):
            build()
    except UserError:
        raise
    except Exception:  # one may need what a Runner has set up
        return


@cache
def _signature(found: Callable) -> _Signature | None:
    """What a class or function takes, None where that is decided elsewhere."""
    if not isinstance(found, type):
        return _of_function(found)
    if found.__new__ is not object.__new__ or type(found).__call__ is not type.__call__:
        return None
    names: list[str] = []
    required: list[str] = []
    positions, given = 1, frozenset()  # 1: self
    for cls in found.__mro__:
        init = vars(cls).get('__init__')
        if init is None or cls is object:
            continue
        if not inspect.isfunction(init) or hasattr(init, '__wrapped__'):
            return _Signature(tuple(names), tuple(required), True)
        parameters = [*inspect.signature(init).parameters.values()]
        for i, parameter in enumerate(parameters):
            new = parameter.name not in given and parameter.name not in names
            if parameter.kind in NAMED and new and i >= positions:
                names.append(parameter.name)
                if parameter.default is Argument.empty:
                    required.append(parameter.name)
        rest = next((p.name for p in parameters if p.kind is Argument.VAR_KEYWORD), None)
        if rest is None:
            break
        handed = _handed_on(cls, init, rest)
        if handed is None:
            return _Signature(tuple(names), tuple(required), True)
        positions, given = handed
    return _Signature(tuple(names), tuple(required), False)


def _of_function(found: Callable) -> _Signature | None:
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return None
    if hasattr(found, '__wrapped__'):
        return None
    names = [p for p in parameters if p.kind in NAMED]
    required = tuple(p.name for p in names if p.default is Argument.empty)
    is_open = any(p.kind is Argument.VAR_KEYWORD for p in parameters)
    return _Signature(tuple(p.name for p in names), required, is_open)


def _handed_on(cls: type, init: Callable, rest: str) -> tuple[int, frozenset[str]] | None:
    """How a constructor calls the next one with its ``**kwargs``, if that is all it does with them.

    Returns:
        tuple[int, frozenset[str]] | None: How many arguments the next one has by position, ``self``
        among them, and the names of those it has by name.
    """
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(init))).body[0]
    except (OSError, SyntaxError, IndentationError):
        return None
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == rest]
    calls = [
        statement.value
        for statement in function.body
        if isinstance(statement, ast.Expr) and _is_super_init(statement.value, cls)
    ]
    if len(uses) != 1 or len(calls) != 1:
        return None
    (call,) = calls
    spread = [keyword.value for keyword in call.keywords if keyword.arg is None]
    more = [a.value for a in call.args if isinstance(a, ast.Starred)]
    varargs = function.args.vararg.arg if function.args.vararg else None
    if spread != uses or any(not isinstance(m, ast.Name) or m.id != varargs for m in more):
        return None
    named = frozenset(keyword.arg for keyword in call.keywords if keyword.arg is not None)
    # Of *args there are none, since a configuration gives all by name.
    return 1 + len(call.args) - len(more), named


def _is_super_init(node: ast.AST, cls: type) -> bool:
    """Whether a node is ``super().__init__(...)``, or names its own class in it."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
        return False
    inner = node.func.value
    return (
        node.func.attr == '__init__'
        and isinstance(inner, ast.Call)
        and isinstance(inner.func, ast.Name)
        and inner.func.id == 'super'
        and (not inner.args or getattr(inner.args[0], 'id', None) == cls.__name__)
    )
