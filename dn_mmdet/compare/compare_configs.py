"""Training each configuration with each seed where that is missing, then comparing them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.errors import UserError
from ..jobs import Training
from .compare_runs import compare_runs
from .comparison import Comparison
from .train_missing import train_missing

__all__ = ['compare_configs']


def compare_configs(
    configs: Sequence[str | os.PathLike],
    seeds: Sequence[int] = (0, 1, 2),
    work_root: str | os.PathLike = 'work_dirs/compare',
    workers: int | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    **report,
) -> Comparison:
    """Train what is missing, seed by seed, each run in a process of its own; then compare.

    Interrupted, the same call goes on: whole runs stay, the others resume at their last epoch.

    Args:
        configs (Sequence[str | PathLike]): two or more, with file names of their own.
        seeds (Sequence[int]): of ``randomness``. Default: (0, 1, 2).
        work_root (str | PathLike): a run is in ``<configuration's name>/seed_<seed>`` of it; one
            of another configuration or data is set aside there. Default: 'work_dirs/compare'.
        workers (int, optional): runs at a time. Default: one for each core, with a GPU 1.
        cfg_options (Mapping, optional): settings of every run, dotted key to value.
        **report: ``out``, ``metric`` and further arguments of :func:`compare_runs`; ``test`` is
            True by default, as the data is here.

    Returns:
        Comparison: what the report tells.

    Raises:
        UserError: a configuration cannot be read, or too few runs can be compared.
        KeyboardInterrupt: with how to go on.
    """
    configs = [Path(config) for config in configs]
    if len(configs) < 2:
        raise UserError('a comparison needs two configurations, and one is given: name another.')
    twice = [name for name, count in Counter(c.stem for c in configs).items() if count > 1]
    if twice:
        raise UserError(
            f'two configurations are named {twice[0]}, and so would their folders be: rename one.'
        )
    trainings = [
        Training(
            f'{config.stem}, seed {seed}',
            config,
            Path(work_root) / config.stem / f'seed_{seed}',
            seed,
            options=dict(cfg_options or {}),
        )
        for seed in dict.fromkeys(seeds)
        for config in configs
    ]
    failed = train_missing(trainings, {training.name: 300.0 for training in trainings}, workers)
    return compare_runs(
        [training.work_dir for training in trainings], failed=failed, **{'test': True, **report}
    )
