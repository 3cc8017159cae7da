"""A linter for runs: all that can be known to be wrong before a run begins, in one sentence.

A check is a function of one argument that raises a :class:`UserError`. One of a run as a whole
takes a :class:`PlannedRun` and has its place in :data:`CHECKS`. One of the data sets of a class
takes a :class:`PlannedDataset` and is registered with :func:`register_dataset_check`.
"""

from collections.abc import Callable, Mapping, Sequence

from mmengine.config import Config

from ..distributed import on_rank_zero
from . import voc  # noqa: F401 - registers its check
from .arguments import check_arguments
from .checkpoint import check_checkpoints
from .class_list import give_class_lists, use_one_class_list
from .classification import check_top_k
from .coco_metrics import check_coco_metrics
from .config import (
    check_keys,
    check_model,
    check_optimizer,
    check_types,
    check_vis_backends,
    check_work_dir,
)
from .data import check_datasets, register_dataset_check
from .evaluation import check_metrics, check_save_best
from .label_order import check_label_order
from .levels import check_levels
from .loaders import check_loaders
from .names import check_names
from .norms import check_norms
from .planned import DatasetContent, PlannedDataset, PlannedRun
from .registries import config_scope
from .schedule import check_schedule
from .steps import check_steps

__all__ = [
    'CHECKS',
    'DATA_CHECKS',
    'DatasetContent',
    'PlannedDataset',
    'PlannedRun',
    'register_dataset_check',
    'run_preflight',
    'survey_data',
]

# What is about the data alone, in this order.
DATA_CHECKS: tuple[Callable[[PlannedRun], None], ...] = (
    use_one_class_list,
    check_datasets,
    check_label_order,
    check_steps,
    check_coco_metrics,
    check_top_k,
)
# A survey is of what reads the data too; each of these looks at the parts of a survey alone.
SURVEY_CHECKS = (check_arguments, check_loaders, *DATA_CHECKS)
# In this order: what is quick comes first, and what stands on something comes behind it.
CHECKS: tuple[Callable[[PlannedRun], None], ...] = (
    check_work_dir,
    check_keys,
    check_names,
    check_types,
    check_vis_backends,
    check_arguments,
    check_loaders,
    check_schedule,
    check_metrics,
    check_save_best,
    check_model,
    check_levels,
    check_optimizer,
    check_checkpoints,
    check_norms,
    *DATA_CHECKS,
)


def run_preflight(cfg: Config, mode: str) -> list[str]:
    """Check configuration, checkpoints and data of a run.

    Nothing is written, and the model that is built for the comparison is thrown away. In a
    distributed run the first process checks and all share its verdict. The key ``preflight`` of
    the configuration takes four switches: ``images=False`` skips opening every image,
    ``class_subset=True`` allows a class list that leaves out categories of the annotation file,
    ``checkpoint=False`` lets ``load_from`` give a part of the weights, and ``class_names=False``
    lets data sets and a checkpoint that is tested have different class lists.

    Args:
        cfg (Config): The whole configuration; ``load_from`` and ``resume`` are final. Data sets
            whose class list is in another order than that of the run are given that one.
        mode (str): 'train' or 'test'.

    Returns:
        list[str]: Notes for the log.

    Raises:
        UserError: What is wrong, where, and what to do.
    """
    notes, metainfo = on_rank_zero(cfg, lambda: _outcome(PlannedRun(cfg, mode)))
    if metainfo:
        give_class_lists(PlannedRun(cfg, mode), metainfo)
    return notes


def survey_data(cfg: Config, parts: Sequence[str]) -> PlannedRun:
    """Look for all that is wrong with the data of a configuration, whose rest may be unfinished.

    Args:
        cfg (Config): The whole configuration.
        parts (Sequence[str]): Which of 'train', 'val' and 'test' are looked at.

    Returns:
        PlannedRun: With ``errors``, ``notes`` and ``contents``.

    Raises:
        UserError: The key ``preflight`` of the configuration is wrong.
    """
    return _checked(PlannedRun(cfg, 'train', survey=True, parts=parts), SURVEY_CHECKS)


def _outcome(run: PlannedRun) -> tuple[list[str], dict[str, Mapping]]:
    _checked(run, CHECKS)
    return run.notes, run.metainfo


def _checked(run: PlannedRun, checks: Sequence[Callable[[PlannedRun], None]]) -> PlannedRun:
    with config_scope(run.cfg):
        for check in checks:
            with run.going_on():
                check(run)
    return run
