"""A work folder as a run, or the reason why it cannot be compared."""

import math
from dataclasses import replace
from pathlib import Path

from ..analysis.run_log import read_run_log
from .config_dict import effective, parse_config
from .differences import differences
from .runs import Run
from .text_log import died_of_nan, read_environment, read_revisions

__all__ = ['LeftOut', 'read_run']


class LeftOut(Exception):
    """Why a work folder is not compared, as a sentence that names it."""


def read_run(work_dir: str) -> Run:
    """Read a work folder of ``tools/train.py``.

    Raises:
        LeftOut: it has no log or configuration, or several configurations.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        raise LeftOut(f'{work_dir}: there is no such folder.')
    log = read_run_log(folder)
    if not log.starts:
        hint = (
            ' Give the work folder, which is the one above it.'
            if (folder / 'vis_data').is_dir()
            else ''
        )
        broken = (
            f' ({len(log.broken)} unreadable lines in {log.broken[0].rpartition(":")[0]})'
            if log.broken
            else ''
        )
        raise LeftOut(
            f'{work_dir}: no log was found, vis_data/scalars.json in a folder that is '
            f'named by the time{broken}.{hint}'
        )
    config_file, config = _config(work_dir, log.starts)
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
                'tells its seed, so that it cannot be paired with another run.'
            )
    run = Run(work_dir, config_file, config, int(seed), log, environment)
    return replace(run, diverged=_diverged(run, folder))


def _config(work_dir, starts):
    """The configuration of the first start, when all starts have it."""
    files = [start / 'vis_data' / 'config.py' for start in starts]
    if not any(file.is_file() for file in files):
        files = sorted(Path(work_dir).glob('*.py'))[:1]
    files = [file for file in files if file.is_file()]
    if not files:
        raise LeftOut(f'{work_dir}: its log has no configuration, vis_data/config.py.')
    configs = []
    for file in files:
        try:
            configs.append(parse_config(file.read_text(encoding='utf-8', errors='replace')))
        except SyntaxError as error:
            raise LeftOut(
                f'{work_dir}: its configuration {file} cannot be read, it is cut off or '
                f'was changed ({error.msg}, line {error.lineno}).'
            ) from error
    resumed = ('load_from', 'resume')  # a start that resumes differs in these
    first = {k: v for k, v in effective(configs[0]).items() if k not in resumed}
    for file, config in zip(files[1:], configs[1:], strict=True):
        other = {k: v for k, v in effective(config).items() if k not in resumed}
        keys = [found.key for found in differences(first, other)]
        seeds = [(c.get('randomness') or {}).get('seed') for c in (configs[0], config)]
        keys += ['randomness.seed'] if seeds[0] != seeds[1] else []
        if keys:
            raise LeftOut(
                f'{work_dir}: its log mixes two configurations, {files[0]} and {file}, '
                f'which differ in {", ".join(keys)}.'
            )
    return files[0], configs[0]


def _diverged(run, folder):
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
