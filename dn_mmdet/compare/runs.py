"""One training: its configuration, its scalars and what follows from them."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

from ..analysis.run_log import RunLog
from .config_dict import effective
from .module import Module, module_of

__all__ = ['Run']


@dataclass(frozen=True, eq=False)
class Run:
    """One training.

    Attributes:
        work_dir (str): its folder, as it was given.
        config_file (Path): the complete configuration that it began with.
        config (dict): what that holds, see :func:`dn_mmdet.compare.config_dict.parse_config`.
        seed (int): of the configuration, or the one that mmengine drew.
        log (RunLog): its scalars.
        environment (dict[str, str]): versions and the like, of its last start.
        diverged (str): how its loss ceased to be finite; '' where it did not.
    """

    work_dir: str
    config_file: Path
    config: dict = field(repr=False)
    seed: int
    log: RunLog = field(repr=False)
    environment: dict = field(default_factory=dict, repr=False)
    diverged: str = ''

    @property
    def by_epoch(self) -> bool:
        """Whether its steps are epochs and not iterations."""
        return 'max_iters' not in self._train_cfg

    @property
    def planned(self) -> int | None:
        """The steps that its configuration asks for, None where it says nothing."""
        return self._train_cfg.get('max_epochs' if self.by_epoch else 'max_iters')

    @cached_property
    def steps(self) -> list[int]:
        """The steps with an evaluation; a hook may have logged scalars of its own at others."""
        timed = [step for step, row in self.log.val.items() if 'data_time' in row]
        return sorted(timed or self.log.val)

    @property
    def last(self) -> int:
        """The last step with an evaluation; 0 without any."""
        return max(self.steps, default=0)

    @property
    def finished(self) -> bool:
        """Whether its last planned step was evaluated."""
        if self.by_epoch or not self.planned or len(self.log.train) < 2:
            return self.last >= (self.planned or 1)
        # An evaluation may be known by the training iteration that was logged before it.
        first, second = sorted(self.log.train)[:2]
        return self.planned - self.last < second - first

    @cached_property
    def effective(self) -> dict:
        """What of the configuration decides the result."""
        return effective(self.config)

    @cached_property
    def module(self) -> Module:
        """Its norm."""
        return module_of(self.config)

    @property
    def metrics(self) -> set[str]:
        """Names of what its last evaluation measured."""
        row = self.log.val.get(self.last, {})
        return {key for key in row if '/' in key and self.value(key) is not None}

    def value(self, metric: str, step: int | None = None) -> float | None:
        """A metric at a step, by default the last; None where it was not measured or is NaN.

        COCO's -1, of sizes or classes without an object, is no measurement either.
        """
        value = self.log.val.get(self.last if step is None else step, {}).get(metric)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        return None if value == -1 and metric.startswith('coco/') else float(value)

    def typical(self, key: str) -> float | None:
        """Median of a training scalar, as 'time' or 'memory'; None where it was not logged."""
        values = [row[key] for row in self.log.train.values() if key in row]
        return median(values) if values else None

    @property
    def _train_cfg(self):
        return self.config.get('train_cfg') or {}
