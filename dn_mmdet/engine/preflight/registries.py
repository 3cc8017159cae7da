"""What the registries know of a configuration: its types, and whose mistake an exception is."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from mmengine import registry as registries
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry

from ...utils.errors import UserError, missing_package
from ...utils.text import error_text

__all__ = ['config_mistakes', 'config_scope', 'dicts_in', 'find_type', 'is_type', 'unknown_type']

# A package that is not installed.
LACKING = r'not installed|No module named|pip install'


def find_type(registry: Registry, name: Any) -> Any:
    """The class or function that ``type=name`` stands for, or None if there is none.

    ``Registry.get`` alone looks in the registry itself and in its parents; this one begins in
    the default scope, as ``Registry.build`` does.

    Args:
        registry (Registry): A root registry of mmengine.
        name (Any): A name, perhaps with a scope (``mmdet.CocoDataset``), or the class itself.

    Returns:
        Any: What is registered.
    """
    if not isinstance(name, str):
        return name
    with registry.switch_scope_and_registry(None) as scoped:
        try:
            found = scoped.get(name)
        except RuntimeError:  # a dotted name of which no module can be imported
            return None
    return None if isinstance(found, ModuleType) else found


def is_type(registry: Registry, given: Any, *classes: type) -> bool:
    """Whether ``type=given`` stands for one of some classes, however it is written.

    A configuration may name a class ('CocoDataset'), give its scope ('mmdet.CocoDataset') or its
    whole path ('mmdet.datasets.CocoDataset'), or hold the class itself. To be called within
    :func:`config_scope`.

    Args:
        registry (Registry): A root registry of mmengine.
        given (Any): The value of a key ``type``.
        *classes (type): A subclass of one of them is another type.

    Returns:
        bool: False where nothing of that name is registered.
    """
    found = find_type(registry, given)
    return any(found is cls for cls in classes)


def config_scope(cfg: Config, default: str = 'mmengine') -> AbstractContextManager[None]:
    """The scope in which the types of a configuration are looked up, as its Runner does.

    Args:
        cfg (Config): A configuration in pure Python may have ``default_scope=None``: no scope.
        default (str): The scope where it says nothing. Defaults to 'mmengine'.

    Returns:
        AbstractContextManager: For a with statement.
    """
    return DefaultScope.overwrite_default_scope(cfg.get('default_scope', default))


@contextmanager
def config_mistakes(cfg: Config, building: str = '') -> Iterator[None]:
    """Turn what a wrong configuration raises into a :class:`UserError`; bugs pass unchanged.

    A type that no registry has, and an argument that a registered class does not take, are raised
    by the registry's own code, which gives them away.

    Args:
        cfg (Config): The configuration, for the message.
        building (str): What the block builds from the configuration, if it does nothing else:
            then its ValueErrors, TypeErrors, failed assertions, the KeyErrors that hold a
            sentence, and what is said of a package or file that is not there are taken as words
            about the configuration too. Defaults to '', something else.

    Raises:
        UserError: The configuration is wrong.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = error_text(error)
        unknown = re.match(r'(\S+) is not in the \S+::', text)
        if isinstance(error, KeyError) and unknown:
            raise unknown_type(None, unknown[1], cfg) from error
        by_registry = frame.filename.endswith(os.path.join('registry', 'build_functions.py'))
        if not building and not by_registry:
            raise
        # A key that is missing is a bug, a sentence in its place is one about the configuration.
        if isinstance(error, KeyError) and not by_registry and len(text.split()) < 4:
            raise
        what = building or 'what it describes'
        if not text and isinstance(error, AssertionError) and frame.line:
            # As in mmdet's necks: assert len(out_channels) - len(in_channels) == ...
            text = f'{frame.line.removeprefix("assert ")!r} does not hold'
        place = f' ({os.path.basename(frame.filename)}, line {frame.lineno})'
        raise UserError(
            f'{cfg.filename}: {what} cannot be built: {text.rstrip(".")}'
            f'{"" if by_registry else place}. Correct the configuration or '
            '--cfg-options.'
        ) from error
    except (RuntimeError, ImportError, OSError) as error:
        # mmdet's language models and some of its layers say it with a RuntimeError; a teacher
        # of a distillation reads a configuration and weights of its own.
        outside = isinstance(error, (ImportError, OSError))
        if not building or not (outside or re.search(LACKING, error_text(error))):
            raise
        verb = 'Provide' if isinstance(error, OSError) else 'Install'
        raise UserError(
            f'{cfg.filename}: {building} cannot be built: {error_text(error).rstrip(".")}. {verb} '
            'what is missing, or leave out what needs it.'
        ) from error


def unknown_type(key: str | None, name: str, cfg: Config) -> UserError:
    """The error for a type that is not registered anywhere.

    Args:
        key (str, optional): Dotted key of the type. None looks for it in the configuration.
        name (str): The type.
        cfg (Config): The configuration.

    Returns:
        UserError: Names the package of OpenMMLab's that it is looked up in, where that is not
        installed, else the nearest type that is registered.
    """
    key = key or next(
        (f'{place}.type' for place, part in dicts_in(cfg, '') if part.get('type') == name), 'a type'
    )
    names, scope = _registered_names(), cfg.get('default_scope', 'mmengine')
    package = name.partition('.')[0] if '.' in name else scope
    if package in MODULE2PACKAGE and not find_spec(package):
        return UserError(
            f'{cfg.filename}: {key} is {name!r}, and where it is looked up, '
            f'{missing_package(package)}'
        )
    elsewhere = names.get(name, 'mmengine')
    if elsewhere not in ('mmengine', scope):
        return UserError(
            f'{cfg.filename}: {key} is {name!r}, which is registered in the scope {elsewhere!r}, '
            f'but default_scope is {scope!r}: write {f"{elsewhere}.{name}"!r}.'
        )
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f'did you mean {near[0]!r}?' if near and near[0] != name else 'check the spelling.'
    return UserError(
        f'{cfg.filename}: {key} is {name!r}, which is not registered anywhere; {hint} A '
        'class of your own must be imported with custom_imports.'
    )


def dicts_in(node: Any, path: str) -> Iterator[tuple[str, Mapping]]:
    """Every dict in nested dicts and lists, with its dotted key; ``path`` is that of the node."""
    if isinstance(node, (Mapping, Config)):
        if path:
            yield path, node
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, inner in items:
        yield from dicts_in(inner, f'{path}.{key}' if path else str(key))


def _registered_names() -> dict[str, str]:
    """Name to a scope that it is registered in."""
    names, queue = {}, [r for r in vars(registries).values() if isinstance(r, Registry)]
    with suppress(ImportError):
        import_module('mmdet.registry')  # a configuration without a scope may not have needed it
    while queue:
        registry = queue.pop()
        registry.import_from_location()
        names.update(dict.fromkeys(registry.module_dict, registry.scope))
        queue.extend(registry.children.values())
    return names
