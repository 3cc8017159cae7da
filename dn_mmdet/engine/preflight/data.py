"""The checks of data sets: where one is registered, and how they are run."""

from collections.abc import Callable, Sequence
from typing import Optional

from ...utils.errors import UserError
from .class_list import check_class_list
from .planned import DatasetContent, PlannedDataset, PlannedRun

__all__ = ['DatasetCheck', 'check_dataset', 'check_datasets', 'register_dataset_check']

DatasetCheck = Callable[[PlannedDataset], Optional[DatasetContent]]
_CHECKS: dict[str, list[DatasetCheck]] = {}


def register_dataset_check(type_name: str) -> Callable[[DatasetCheck], DatasetCheck]:
    """Make a function a check of the data sets of a class.

    A check takes a :class:`PlannedDataset` and returns a :class:`DatasetContent` if it is the one
    that knows it, else None. For what is wrong it raises a :class:`UserError`, or calls
    ``data.run.refuse`` where it can look further: a survey of a data set then lists all of it.
    ``data.run.note`` puts a line into the log. The checks of a class run in the order of their
    registration. They are those of its subclasses too, except where a subclass has checks of its
    own.

    Args:
        type_name (str): Name of the class.

    Returns:
        Callable: A decorator.

    Example:
        >>> @register_dataset_check('CocoDataset')
        ... def check_year(data: PlannedDataset) -> None:
        ...     path = os.path.join(data.cfg.get('data_root') or '', data.cfg['ann_file'])
        ...     content = data.run.files.annotations(path, f'{data.key}.ann_file')
        ...     if content['info']['year'] < 2017:
        ...         raise UserError(f'{path} is of before 2017: download the one of 2017.')
    """

    def register(check: DatasetCheck) -> DatasetCheck:
        _CHECKS.setdefault(type_name, []).append(check)
        return check

    return register


def check_datasets(run: PlannedRun) -> None:
    """Check every data set of a run, and that the model has as many classes.

    Raises:
        UserError: From the check of a data set; its type is not registered anywhere; its class
            list is not that of the run; the data sets of a part together give nothing; or
            ``num_classes`` of a part of the model is not the number of class names.
    """
    for data in run.datasets():
        with run.going_on():
            content = run.contents[data.key] = check_dataset(data)
            if content.classes is not None:
                check_class_list(data, content.classes)
                _check_number_of_classes(run, data.key, content.classes)
    for part in run.looked_at():
        with run.going_on():
            _check_something_used(run, part)


def check_dataset(data: PlannedDataset) -> DatasetContent:
    """Run the checks that are registered for the class of a data set.

    Args:
        data (PlannedDataset): One without registered checks is left alone.

    Returns:
        DatasetContent: What the checks know of it.

    Raises:
        UserError: From a check.
    """
    checks = next((_CHECKS[c.__name__] for c in data.cls.__mro__ if c.__name__ in _CHECKS), ())
    found = [check(data) for check in checks]
    return next((content for content in found if content is not None), DatasetContent())


def _check_something_used(run: PlannedRun, part: str) -> None:
    """Each of several data sets may be without boxes, but not all of them."""
    keys = [data.key for data in run.datasets() if data.part == part and data.joined]
    used = [run.contents[key].used for key in keys if key in run.contents]
    if keys and len(used) == len(keys) and None not in used and not any(map(any, used)):
        raise UserError(
            f'none of the {len(keys)} data sets of {part}_dataloader has a box that can be used: '
            'correct their annotation files.'
        )


def _check_number_of_classes(run: PlannedRun, key: str, classes: Sequence[str]) -> None:
    """mmdet's NumClassCheckHook, before the run instead of in its first epoch."""
    for name, module in run.model.named_modules():
        number = getattr(module, 'num_classes', None)
        # A region proposal head tells objects from background, whatever the data set.
        proposes = any('RPNHead' in base.__name__ for base in type(module).__mro__)
        apart = proposes or 'rpn_head' in name.split('.') or 'semantic' in name
        # A backbone without its classifier says so with -1 or 0.
        none = isinstance(number, int) and number < 1 and 'head' not in name
        if apart or none or not isinstance(number, int):
            continue
        if number != len(classes):
            at = f'model.{name}.num_classes' if name else 'model.num_classes'
            raise UserError(
                f'{at} is {number}, but the class list of {key} has {len(classes)} names: set '
                f'{at}={len(classes)} in {run.cfg.filename}, or correct the class list.'
            )
