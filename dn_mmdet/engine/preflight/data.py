"""Checking the data sets that a run will read, before it writes anything."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.registry import DATASETS

from ...utils.errors import UserError
from .config import find_type

__all__ = ['DataOptions', 'check_data', 'register_dataset_check']


@dataclass(frozen=True)
class DataOptions:
    """What the checks of a data set look at.

    Args:
        images (bool): Whether every image file is looked at.
        class_subset (bool): Whether the class list may leave out categories of the file.
        labels (bool): Whether there must be annotations.
    """

    images: bool = True
    class_subset: bool = False
    labels: bool = True


# Called with the configuration of a data set, its class, its dotted key and the options; raises
# UserError and returns the class names, or None if it cannot tell.
DatasetCheck = Callable[[Mapping, type, str, DataOptions], Sequence[str] | None]
_CHECKS: dict[str, DatasetCheck] = {}


def register_dataset_check(type_name: str) -> Callable[[DatasetCheck], DatasetCheck]:
    """Make a function the check of a dataset class and of its subclasses.

    Args:
        type_name (str): Name of the class.

    Returns:
        Callable: A decorator.
    """

    def register(check: DatasetCheck) -> DatasetCheck:
        _CHECKS[type_name] = check
        return check

    return register


def check_data(
    cfg: Mapping, key: str, options: DataOptions, done: dict[Any, Sequence[str] | None]
) -> list[tuple[str, Sequence[str]]]:
    """Check every data set of a configuration; wrappers around data sets are looked through.

    A data set of a class without a registered check is left alone.

    Args:
        cfg (Mapping): Configuration of a data set, perhaps a wrapper.
        key (str): Its dotted key, as 'train_dataloader.dataset'.
        options (DataOptions): What to check.
        done (dict): What was checked before, so that a set that is read twice is checked once;
            changed in place.

    Returns:
        list[tuple[str, Sequence[str]]]: Key and class names of each data set that was checked.

    Raises:
        UserError: From the check of a data set, or if its type is unknown.
    """
    classes = []
    for at, part in _unwrapped(cfg, key):
        cls = _dataset_class(part.get('type'), at)
        check = next((_CHECKS[c.__name__] for c in cls.__mro__ if c.__name__ in _CHECKS), None)
        if check is None:
            continue
        # The pipeline and the filter do not change what is read.
        identity = (
            cls,
            options,
            *(
                repr(part.get(name))
                for name in ('data_root', 'ann_file', 'data_prefix', 'metainfo')
            ),
        )
        if identity not in done:
            done[identity] = check(part, cls, at, options)
        if done[identity] is not None:
            classes.append((at, done[identity]))
    return classes


def _unwrapped(cfg: Any, key: str) -> Iterator[tuple[str, Mapping]]:
    """The data sets inside RepeatDataset, ConcatDataset and the like."""
    if not isinstance(cfg, Mapping):
        return  # built in Python by the caller, who knows it
    if isinstance(cfg.get('dataset'), Mapping):
        yield from _unwrapped(cfg['dataset'], f'{key}.dataset')
    elif isinstance(cfg.get('datasets'), (list, tuple)):
        for i, inner in enumerate(cfg['datasets']):
            yield from _unwrapped(inner, f'{key}.datasets.{i}')
    else:
        yield key, cfg


def _dataset_class(name: Any, key: str) -> type:
    cls = find_type(DATASETS, name)
    if not isinstance(cls, type):
        raise UserError(
            f'{key}.type is {name!r}, which is no registered data set: check the '
            'spelling, or import its module with custom_imports.'
        )
    return cls
