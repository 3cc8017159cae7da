"""One training: its configuration, its scalars and what follows from them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mmengine.config import Config

from .. import layers
from ..layers.dnb import SC_INPUT
from ..layers.sample_norms import DEFAULT_SC_INPUTS
from ..utils.python39 import zip_strict
from .config import differences, effective, literal_config, parse_config, plain_types
from .log import RunLog, died_of_nan, read_environment, read_revisions, read_run_log

__all__ = ['LeftOut', 'NormLabel', 'Run', 'read_run']

# Type of a norm to what the paper calls it.
NAMES = {
    'SyncBN': 'BN',
    'BN2d': 'BN',
    'BN': 'BN',
    'SEBN': 'SE + BN',
    'DNB': 'DN-B',
    'DNC': 'DN-C',
    'DNGN': 'DN-GN',
    'DNIN': 'DN-IN',
    'DNLN': 'DN-LN',
    'GN': 'GN',
    'IN': 'IN',
    'LN': 'LN',
}

# What tells two norms of one name, r and g apart.
DETAILS = (
    'start',
    'fuse',
    'sc_input',
    'detach_gap',
    'parameterization',
    'gain',
    'num_groups',
)


class NormLabel(NamedTuple):
    """A norm as the first columns of the paper's Table 5 have it.

    Attributes:
        name (str): 'BN', 'DN-B' ...; what has no other name is called as its ``type``.
        r (str): Reduction ratio; '' where it has none.
        g (str): Channels of a group; '' where it has none.
        details (str): Further keys of the norm that are not at their default.
    """

    name: str
    r: str = ''
    g: str = ''
    details: str = ''

    @classmethod
    def of(cls, config: dict[str, Any]) -> NormLabel:
        """The norm of the backbone, or of a model without one.

        Args:
            config (dict[str, Any]): From :func:`dn_mmdet.runs.config.parse_config`.

        Returns:
            NormLabel: BN where the configuration names no norm, as the backbones of mmdet have
            it.
        """
        norm = plain_types(_norm_cfg(config.get('model')))
        kind = str(norm.get('type', 'BN')).split('.')[-1]
        layer = getattr(layers, kind, None)
        parameters = {} if layer is None else inspect.signature(layer).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        r, g = (norm.get(key, defaults.get(key)) for key in ('r', 'g'))
        if 'sc_input' in defaults:
            # As the paper's tables have it, a norm without further details is the paper's form.
            form = norm.get('parameterization', defaults['parameterization'])
            papers = DEFAULT_SC_INPUTS.get(form)
            seen = norm.get('sc_input') or (SC_INPUT if kind == 'DNB' else papers)
            norm, defaults['sc_input'] = {**norm, 'sc_input': seen}, papers
        details = [
            f'{key}={norm[key]}'
            for key in DETAILS
            if key in norm and norm[key] not in (None, defaults.get(key))
        ]
        if kind == 'DNC':
            details = [
                f'after {str(norm.get("fuse", defaults["fuse"])).upper()}',
                *(detail for detail in details if not detail.startswith('fuse')),
            ]
        return cls(
            NAMES.get(kind, kind),
            '' if r is None else str(r),
            '' if g is None else str(g),
            ', '.join(details),
        )

    @property
    def arguments(self) -> str:
        """' (r, g)', '' without any."""
        found = ', '.join(filter(None, (self.r, self.g)))
        return f' ({found})' if found else ''

    def __str__(self) -> str:
        return ', '.join(filter(None, (self.name + self.arguments, self.details)))


def _norm_cfg(model: Any) -> dict[str, Any]:
    while (
        isinstance(model, dict)
        and 'backbone' not in model
        and isinstance(model.get('module') or model.get('detector'), dict)
    ):
        model = model.get('module') or model.get('detector')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    norm = (backbone if isinstance(backbone, dict) else model or {}).get('norm_cfg')
    return norm if isinstance(norm, dict) else dict(type='BN')


@dataclass(frozen=True, eq=False)
class Run:
    """One training.

    Attributes:
        work_dir (str): Its folder, as it was given.
        config_file (Path): The complete configuration that it began with.
        config_text (str): What stands there.
        config (dict[str, Any]): What that means, see :func:`dn_mmdet.runs.config.parse_config`.
        seed (int): Of the configuration, or the one that mmengine drew.
        log (RunLog): Its scalars.
        environment (dict[str, str]): Versions and the like, of its last start.
        diverged (str): How its loss ceased to be finite; '' where it did not.
    """

    work_dir: str
    config_file: Path
    config_text: str = field(repr=False)
    config: dict[str, Any] = field(repr=False)
    seed: int
    log: RunLog = field(repr=False)
    environment: dict[str, str] = field(repr=False)
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

    def buildable(self, *needed: str) -> Config:
        """Its configuration to build from; see :func:`literal_config`, which raises the errors.

        Args:
            *needed (str): Names that something is built from. Defaults to all.
        """
        return literal_config(self.config_text, self.config_file, needed or None)

    @cached_property
    def effective(self) -> dict[str, Any]:
        """What of the configuration decides the result."""
        return effective(self.config)

    @cached_property
    def norm(self) -> NormLabel:
        """Its norm."""
        return NormLabel.of(self.config)

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
    def _train_cfg(self) -> dict[str, Any]:
        return self.config.get('train_cfg') or {}


class LeftOut(Exception):
    """Why a work folder is not compared, as a sentence that names it."""


def read_run(work_dir: str | Path) -> Run:
    """Read a work folder of ``tools/train.py``.

    Args:
        work_dir (str | Path): The folder.

    Raises:
        LeftOut: It has no log or configuration, or several configurations.
    """
    work_dir, folder = str(work_dir), Path(work_dir)
    if not folder.is_dir():
        raise LeftOut(f'{work_dir}: there is no such folder.')
    log = read_run_log(folder)
    if not log.starts:
        hint = ' Give the work folder, the one above it.' if (folder / 'vis_data').is_dir() else ''
        broken = (
            f'; {len(log.broken)} unreadable lines in {log.broken[0].rpartition(":")[0]}'
            if log.broken
            else ''
        )
        raise LeftOut(
            f'{work_dir}: no log was found (vis_data/scalars.json in a folder named by the time '
            f'of the start){broken}.{hint}'
        )
    config_file, text, config = _config(work_dir, log.starts)
    environment = read_environment(log.starts[-1])
    if revisions := read_revisions(log.starts):
        environment['git revision'] = revisions
    seed = (config.get('randomness') or {}).get('seed')
    if seed is None:
        # A resumed run goes on with the seed that its first start drew.
        seed = read_environment(log.starts[0]).get('seed', '')
        if not seed.isdigit():
            raise LeftOut(
                f'{work_dir}: neither its configuration (randomness.seed) nor its log '
                'gives its seed, so it cannot be paired with another run.'
            )
    run = Run(work_dir, config_file, text, config, int(seed), log, environment)
    return replace(run, diverged=_diverged(run, folder))


def _config(work_dir: str, starts: Sequence[Path]) -> tuple[Path, str, dict[str, Any]]:
    """The configuration of the first start, when all starts have it: file, text and content."""
    files = [start / 'vis_data' / 'config.py' for start in starts]
    if not any(file.is_file() for file in files):
        files = sorted(Path(work_dir).glob('*.py'))[:1]
    files = [file for file in files if file.is_file()]
    if not files:
        raise LeftOut(f'{work_dir}: its log has no configuration, vis_data/config.py.')
    texts = [file.read_text(encoding='utf-8', errors='replace') for file in files]
    configs = []
    for file, text in zip_strict(files, texts):
        try:
            configs.append(parse_config(text))
        except SyntaxError as error:
            raise LeftOut(
                f'{work_dir}: its configuration {file} cannot be read; it is truncated or '
                f'was changed ({error.msg}, line {error.lineno}).'
            ) from error
    resumed = ('load_from', 'resume')  # a start that resumes differs in these
    first = {k: v for k, v in effective(configs[0]).items() if k not in resumed}
    for file, config in zip_strict(files[1:], configs[1:]):
        other = {k: v for k, v in effective(config).items() if k not in resumed}
        keys = [found.key for found in differences(first, other)]
        seeds = [(c.get('randomness') or {}).get('seed') for c in (configs[0], config)]
        keys += ['randomness.seed'] if seeds[0] != seeds[1] else []
        if keys:
            raise LeftOut(
                f'{work_dir}: its log mixes two configurations, {files[0]} and {file}, '
                f'which differ in {", ".join(keys)}.'
            )
    return files[0], texts[0], configs[0]


def _diverged(run: Run, folder: Path) -> str:
    if run.log.train:
        iteration = max(run.log.train)
        loss = run.log.train[iteration].get('loss')
        if isinstance(loss, float) and not math.isfinite(loss):
            first = min(
                i for i, row in run.log.train.items() if not math.isfinite(row.get('loss', 0))
            )
            return f'its loss is {loss} from iteration {first}'
    if not run.finished and (line := died_of_nan(folder, run.log.starts[-1])):
        return f'its log says: {line.strip().rstrip(".")}'
    return ''
