"""BN against DN-B by COCO mAP on the embedded data: data, pretraining, training, test, report."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from ..analysis import count_complexity
from ..benchmark.models.measure import time_training_steps
from ..datasets import build_digits_coco
from ..figures.curves import plot_curves
from ..figures.detections import draw_detections
from ..paths import configs_root
from ..runs import Training, read_run_log, run_all
from ..runs.make_predictions import Testing
from ..runs.schedule import Call, Report
from ..utils.files import check_output_folder, write_json, write_text
from ..utils.text import markdown_table

__all__ = ['METRICS', 'metrics_table', 'run_demo']

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


def run_demo(work_root: str | os.PathLike = 'work_dirs', seed: int = 0) -> Path:
    """Run what is not done yet, then print the table and write two pictures.

    Args:
        work_root (str | PathLike): Each run has a folder here, and the report is in ``demo/``.
            Defaults to 'work_dirs'.
        seed (int): Of both runs. Defaults to 0.

    Returns:
        Path: Folder with ``table.md``, ``results.json``, ``map_vs_epoch.png`` and
        ``detections.png``.

    Raises:
        UserError: A step failed.
        KeyboardInterrupt: The message says how to continue.
    """
    began = time.monotonic()
    check_output_folder(work_root, '--work-root')
    work_root = Path(work_root)
    out = work_root / 'demo'
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, Any]] = {label: {} for label in NORMS}
    try:
        build_digits_coco('data/digits', preview=out / 'data.png')
        pretrainings, detectors = _trainings(work_root, seed)
        tests = {label: _test(label, detectors[label], out) for label in NORMS}
        timing = Call('time a step of both', partial(_measure, rows, detectors), cost=COSTS['time'])
        pictures = Call('pictures', partial(_draw, detectors, tests, out), cost=COSTS['report'])
        jobs = [*pretrainings.values(), *detectors.values(), *tests.values(), timing, pictures]
        run_all(jobs, workers=1, keep_going=False)
    except KeyboardInterrupt:
        raise KeyboardInterrupt('the same command continues from the last checkpoint') from None
    for label, test in tests.items():
        rows[label]['metrics'] = test.metrics
    text = metrics_table(rows)
    _write(out, rows, text, seed)
    print(
        f'\nSSDLite with a MobileNetV2 backbone on the embedded digits, val, seed {seed}; s/iter '
        f'is a ratio to BN:\n\n{text}\n\nIn {out}/: table.md, results.json, map_vs_epoch.png, '
        f'detections.png, data.png ({(time.monotonic() - began) / 60:.1f} minutes)'
    )
    return out


def _trainings(work_root: Path, seed: int) -> tuple[dict[str, Training], dict[str, Training]]:
    """Pretraining and detector of each norm."""

    def training(label: str, what: str, stem: str, after: tuple[Training, ...] = ()) -> Training:
        config = configs_root() / 'digits' / f'{stem}.py'
        name = f'{what} {label}'
        return Training(name, config, work_root / stem, seed, after=after, cost=COSTS[what])

    pretrainings = {
        label: training(label, 'pretrain', f'mbv2_{key}_digits') for label, key in NORMS.items()
    }
    return pretrainings, {
        label: training(label, 'train', f'ssdlite_mbv2_{key}_digits', (pretrainings[label],))
        for label, key in NORMS.items()
    }


class _CocoTesting(Testing):
    def run(self, report: Report, threads: int | None = None) -> str:
        """Test, and say the mAP."""
        super().run(report, threads)
        return f'mAP {self.metrics[METRICS["mAP"]]:.3f}'


def _test(label: str, detector: Training, out: Path) -> Testing:
    return _CocoTesting(
        f'test {label}',
        detector.config,
        detector.checkpoint,
        out / detector.config.stem,
        out / f'{detector.config.stem}.pkl',
        cost=COSTS['test'],
    )


def _measure(
    rows: dict[str, dict[str, Any]], detectors: Mapping[str, Training], report: Report
) -> None:
    """Add the complexity and the interleaved step time to the rows."""
    configs = {label: Config.fromfile(t.config) for label, t in detectors.items()}
    first = next(iter(configs.values()))
    init_default_scope(first.default_scope)
    for config in configs.values():
        config.model.backbone.pop('init_cfg')
    size = tuple(reversed(first.input_size))
    for label, config in configs.items():
        rows[label]['complexity'] = count_complexity(MODELS.build(config.model), size)
    loader = Runner.build_dataloader(first.train_dataloader, seed=0)
    batches = [batch for batch, _ in zip(loader, range(4))]
    del loader
    torch.set_flush_denormal(True)
    seconds = time_training_steps(
        {label: config.model for label, config in configs.items()},
        batches,
        progress=lambda done, of: report(done / of, f'round {done}/{of}'),
    )
    for label, value in seconds.items():
        rows[label]['seconds'] = value


def _draw(
    detectors: Mapping[str, Training], tests: Mapping[str, Testing], out: Path, report: Report
) -> None:
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
        {label: test.out for label, test in tests.items()},
        out / 'detections.png',
    )


def _write(out: Path, rows: Mapping[str, Mapping[str, Any]], text: str, seed: int) -> None:
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
    write_json(out / 'results.json', plain)
    write_text(out / 'table.md', f'{text}\n')


def metrics_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows as a Markdown table that also reads well on a terminal.

    Args:
        rows (Mapping[str, Mapping[str, Any]]): Norm to its ``metrics`` (mmdet's names),
            ``complexity`` (:class:`dn_mmdet.analysis.Complexity`) and ``seconds`` of a training
            step. The first row is what the seconds are a ratio to.

    Returns:
        str: The table.
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
