"""BN against DN-B by COCO mAP on the embedded data: data, pretraining, training, test, report."""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from ..analysis import count_complexity
from ..benchmark.models.measure import time_training_steps
from ..datasets import build_digits_coco
from ..figures.curves import plot_curves
from ..figures.detections import draw_detections
from ..paths import configs_root, tools_root
from ..runs import Training
from ..runs.log import read_run_log
from ..utils.errors import UserError
from ..utils.files import atomic_write
from ..utils.progress import Progress
from ..utils.text import markdown_table

__all__ = ['METRICS', 'run_demo', 'table']

NORMS = {'BN': 'bn', 'DN-B': 'dnb'}

# Seconds of the steps on two cores: where the time left is guessed from until steps are timed.
COSTS = {'pretrain': 110, 'train': 270, 'test': 15, 'time': 25, 'report': 10}

METRICS = {
    'mAP': 'coco/bbox_mAP',
    'mAP50': 'coco/bbox_mAP_50',
    'mAP75': 'coco/bbox_mAP_75',
    'small': 'coco/bbox_mAP_s',
    'medium': 'coco/bbox_mAP_m',
    'large': 'coco/bbox_mAP_l',
}


def run_demo(work_root='work_dirs', seed=0):
    """Run what is not done yet, then print the table and write two pictures.

    Args:
        work_root (str | Path): each run has a folder here, and the report is in ``demo/``.
            Default: 'work_dirs'.
        seed (int): of both runs. Default: 0.

    Returns:
        Path: folder with ``table.md``, ``results.json``, ``map_vs_epoch.png`` and
        ``detections.png``.

    Raises:
        UserError: a step failed.
        KeyboardInterrupt: with how to go on.
    """
    began = time.monotonic()
    work_root = Path(work_root)
    out = work_root / 'demo'
    out.mkdir(parents=True, exist_ok=True)
    try:
        print('[data] the embedded digits')
        build_digits_coco('data/digits', preview=out / 'data.png')
        trainings = _plan(work_root, seed)
        costs = {t.name: COSTS['train' if t.after else 'pretrain'] for t in trainings}
        costs.update({f'test {label}': COSTS['test'] for label in NORMS})
        costs['time a step of both'] = COSTS['time']
        costs['pictures'] = COSTS['report']
        progress = Progress(costs)
        for training in trainings:
            _train(training, progress)
        detectors = dict(zip(NORMS, (t for t in trainings if t.after), strict=True))
        rows = {
            label: dict(metrics=_test(label, detectors[label], out, progress)) for label in NORMS
        }
        _measure(rows, detectors, progress)
        _draw(detectors, out, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command goes on from the last checkpoint') from None
    text = table(rows)
    _write(out, rows, text, seed)
    print(
        f'\nSSDLite with a MobileNetV2 backbone on the embedded digits, val, seed {seed}; s/iter '
        f'is a ratio to BN:\n\n{text}\n\nIn {out}/: table.md, results.json, map_vs_epoch.png, '
        f'detections.png, data.png ({(time.monotonic() - began) / 60:.1f} minutes)'
    )
    return out


def _plan(work_root, seed):
    pretrainings = [
        _training(f'pretrain {label}', f'mbv2_{key}_digits', work_root, seed)
        for label, key in NORMS.items()
    ]
    return pretrainings + [
        _training(f'train {label}', f'ssdlite_mbv2_{key}_digits', work_root, seed, (pretraining,))
        for (label, key), pretraining in zip(NORMS.items(), pretrainings, strict=True)
    ]


def _training(name, stem, work_root, seed, after=()):
    return Training(name, configs_root() / 'digits' / f'{stem}.py', work_root / stem, seed, after)


def _train(training, progress):
    moved = training.prepare()
    if moved:
        print(f'{training.work_dir} was of another configuration, seed or data: it is {moved} now')
    if training.done:
        progress.skip(training.name, f'there already ({training.checkpoint})')
        return
    step = progress.start(training.name)
    training.run(step.show)
    step.finish()


def _test(label, training, out, progress):
    """COCO metrics by tools/test.py in its own process; its detections go to a pickle."""
    step = progress.start(f'test {label}')
    results = out / f'{training.config.stem}.pkl'
    work_dir = out / training.config.stem
    command = [
        sys.executable,
        str(tools_root() / 'test.py'),
        str(training.config),
        str(training.checkpoint),
        '--work-dir',
        str(work_dir),
        '--out',
        str(results),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(
            f'tools/test.py ended with status {ended.returncode}: '
            f'{(ended.stderr or ended.stdout)[-2000:]}'
        )
    newest = sorted(work_dir.glob('*/[0-9]*.json'))[-1]
    metrics = json.loads(newest.read_text())
    step.finish(f'mAP {metrics[METRICS["mAP"]]:.3f}')
    return metrics


def _measure(rows, detectors, progress):
    """Add the complexity and the interleaved step time to the rows."""
    step = progress.start('time a step of both')
    configs = {label: Config.fromfile(t.config) for label, t in detectors.items()}
    first = next(iter(configs.values()))
    init_default_scope(first.default_scope)
    for config in configs.values():
        config.model.backbone.pop('init_cfg')
    size = tuple(reversed(first.input_size))
    for label, config in configs.items():
        rows[label]['complexity'] = count_complexity(MODELS.build(config.model), size)
    loader = Runner.build_dataloader(first.train_dataloader, seed=0)
    batches = [batch for batch, _ in zip(loader, range(4), strict=False)]
    del loader
    torch.set_flush_denormal(True)
    seconds = time_training_steps(
        {label: config.model for label, config in configs.items()},
        batches,
        progress=lambda done, of: step.show(done / of, f'round {done}/{of}'),
    )
    for label, value in seconds.items():
        rows[label]['seconds'] = value
    step.finish()


def _draw(detectors, out, progress):
    step = progress.start('pictures')
    curves = {
        label: read_run_log(t.work_dir).curve(METRICS['mAP']) for label, t in detectors.items()
    }
    plot_curves(
        curves,
        out / 'map_vs_epoch.png',
        ylabel='COCO mAP on val',
        title='SSDLite, MobileNetV2 x0.5, embedded digits',
    )
    config = Config.fromfile(detectors['BN'].config)
    draw_detections(
        config.test_dataloader.dataset,
        {label: out / f'{t.config.stem}.pkl' for label, t in detectors.items()},
        out / 'detections.png',
    )
    step.finish()


def _write(out, rows, text, seed):
    plain = {
        label: dict(
            seed=seed,
            metrics=row['metrics'],
            params=row['complexity'].params,
            mult_adds=row['complexity'].mult_adds,
            seconds_per_step=row['seconds'],
        )
        for label, row in rows.items()
    }
    with atomic_write(out / 'results.json') as file:
        file.write(json.dumps(plain, indent=1).encode())
    with atomic_write(out / 'table.md') as file:
        file.write(f'{text}\n'.encode())


def table(rows):
    """Rows as a Markdown table that also reads well on a terminal.

    Args:
        rows (dict[str, dict]): norm to its ``metrics`` (mmdet's names), ``complexity``
            (:class:`dn_mmdet.analysis.Complexity`) and ``seconds`` of a training step. The first
            row is what the seconds are a ratio to.

    Returns:
        str: the table.
    """
    reference = next(iter(rows.values()))['seconds']
    cells = [['norm', *METRICS, '#p', 'Mult-Adds', 's/iter']]
    for norm, row in rows.items():
        cells.append(
            [
                norm,
                *(f'{row["metrics"][key]:.3f}' for key in METRICS.values()),
                f'{row["complexity"].params / 1e6:.2f}M',
                f'{row["complexity"].mult_adds / 1e6:.1f}M',
                f'{row["seconds"] / reference:.2f} x',
            ]
        )
    return markdown_table(cells)
