"""Finding what a configuration means by a type."""

from typing import Any

from mmengine.registry import Registry

__all__ = ['find_type']


def find_type(registry: Registry, name: Any) -> Any:
    """The class or function that ``type=name`` stands for, or None if there is none.

    ``Registry.get`` alone looks in the registry itself and in its parents; this one begins in
    the default scope, as ``Registry.build`` does.

    Args:
        registry (Registry): A root registry of mmengine.
        name (Any): A name, perhaps with a scope (``mmdet.CocoDataset``), or the class itself.
    """
    if not isinstance(name, str):
        return name
    with registry.switch_scope_and_registry(None) as scoped:
        return scoped.get(name)
