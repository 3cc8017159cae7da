"""BN and forms of DN-B as detectors on photographs of blood cells, from ImageNet's BN weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..analysis.corruption import check_corruptions
from ..engine.preflight import run_preflight
from ..engine.run import prepare_process
from ..paths import configs_root
from ..runs import Training
from ..utils.errors import UserError
from ..utils.files import check_output_folder
from .detection import FORMS, VARIANTS, Variant
from .measure import Measured, compare_measured, measured_rows, train_and_measure
from .rows import Rows
from .rows_report import write_rows_report
from .sc_settings import RAW

__all__ = ['ARMS', 'DEFAULT_ARMS', 'compare_bccd']

NORM = 'model.backbone.norm_cfg.'

# The form is named, whatever the layer's default.
PAPER = {f'{NORM}parameterization': 'paper', f'{NORM}gain': 1.0, **RAW}

# An arm to the configuration that it is made from, and settings.
STEMS = {
    'bn': ('bn', {}),
    'bn_frozen': ('bn', {'model.backbone.norm_eval': True}),
    'sebn': ('bn', {f'{NORM}type': 'SEBN', f'{NORM}r': 16}),
    'dnb': ('dnb', PAPER),
    'dnb_g1': ('dnb', {**PAPER, f'{NORM}g': 1}),
}

ARMS = {
    **{name: Variant(name) for name in STEMS},
    'normalized': VARIANTS['normalized'],
    # All start from the same weights, and none from another's.
    **{name: form for name, form in FORMS.items() if form.backbone is None},
}

DEFAULT_ARMS = (
    'bn',
    'dnb',
    'normalized',
    'conditioned_sqrt_bn',
    'conditioned_bn',
    'g1_conditioned_bn',
    'sebn',
    'bn_frozen',
)

# One process for each run; the last checkpoint is what is measured.
COMMON = {
    **{
        f'{part}_dataloader.{key}': value
        for part in ('train', 'val')
        for key, value in (('num_workers', 0), ('persistent_workers', False))
    },
    'train_cfg.val_interval': 5,
    'val_evaluator.classwise': True,
    'default_hooks.checkpoint.save_best': None,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
}

# Seconds of a run and of what is measured of it, on one core.
COST = 720.0

ABOUT = """\
SSDLite with MobileNetV2 at 160 pixels on [BCCD](../../configs/bccd/README.md): *trainval* (292 \
photographs) against *test* (72), COCO mAP of the last epoch; nothing is selected on *test*. All \
arms start from the same weights with BN, named below ([which these are, and the \
command](../../configs/bccd/README.md#bn-against-the-forms-of-dn-b)). Made by `python \
tools/compare_bccd.py`, from [every run](bccd.csv)."""


def compare_bccd(
    work_root: str | os.PathLike = 'work_dirs/bccd',
    seeds: Sequence[int] = (0, 1, 2),
    arms: Sequence[str] = DEFAULT_ARMS,
    workers: int | None = None,
    out: str | os.PathLike | None = None,
    checkpoint: str | None = None,
    report: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Train and measure each arm with each seed where its row is missing, then write the report.

    Seed after seed, so that whole seeds are there whenever it is stopped. Of each detector is
    measured, as soon as it is trained: mAP and AP of each class, mAP with alpha and lambda held at
    their means, and mAP on corrupted images. Its row is then in ``bccd.csv``, and nothing else of
    it is needed: rows that were made elsewhere count.

    Args:
        work_root (str | PathLike): A run is in ``<arm>/seed_<seed>`` of it. Defaults to
            'work_dirs/bccd'.
        seeds (Sequence[int]): Seeds of every arm. Defaults to (0, 1, 2).
        arms (Sequence[str]): Some of :data:`dn_mmdet.experiments.bccd.ARMS`. Defaults to BN, DN-B
            as in the paper, normalized and conditioned, with g=1, SE + BN, and frozen BN.
        workers (int, optional): Runs at a time. Defaults to one for each core, with a GPU to 1.
        out (str | PathLike, optional): Folder of ``bccd.csv`` and ``bccd.md``, and of ``compare/``,
            the report on logs and predictions, where all runs are in ``work_root``. Defaults to
            ``work_root``.
        checkpoint (str, optional): File or address of the backbone's weights. Defaults to that of
            the configurations.
        report (bool): Only write the report of the rows that are there. Defaults to False.
        cfg_options (Mapping[str, Any], optional): Settings of every run, dotted key to value.

    Returns:
        Path: The folder of the report.

    Raises:
        UserError: There is no such arm, data or weights are wrong or missing, images cannot be
            corrupted here, or there is no row to report on.
        KeyboardInterrupt: The message says how to continue.
    """
    arms = _known(arms)
    work_root, out = Path(work_root), Path(out or work_root)
    rows = measured_rows(out / 'bccd.csv')
    check_output_folder(work_root, '--work-root')
    check_output_folder(out, '--out')
    failed, detectors = {}, []
    if not report:
        given = dict(cfg_options or {})
        if checkpoint is not None:
            given['model.backbone.init_cfg.checkpoint'] = checkpoint
        detectors = list(_detectors(work_root, dict.fromkeys(seeds), arms, given))
        _check(detectors, rows)
        failed = train_and_measure(detectors, rows, workers, work_root / 'corrupted')
    found = rows.read()
    for folder, reason in failed.items():
        print(f'{folder}: {reason}')
    if not found:
        raise UserError(
            f'{rows.file} has no rows: there is nothing to report on. Train a run first, or give '
            'the folder with --out.'
        )
    print(write_rows_report(found, out / 'bccd.md', 'Photographs of blood cells', ABOUT))
    if len(arms) > 1 and detectors:
        first = str(detectors[0].training.work_dir)
        compare_measured(detectors, rows, failed, out=out / 'compare', baseline=first)
    return out


def _known(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in ARMS:
            raise UserError(f'There is no arm {name!r}: give any of {", ".join(ARMS)}.')
    return list(dict.fromkeys(names))


def _detectors(
    work_root: Path, seeds: Sequence[int], arms: Sequence[str], given: Mapping[str, Any]
) -> Iterator[Measured]:
    for seed in seeds:
        for arm in arms:
            stem, settings = STEMS[ARMS[arm].arm]
            yield Measured(
                arm,
                Training(
                    f'train {arm}, seed {seed}',
                    configs_root() / 'bccd' / f'ssdlite_mbv2_{stem}_bccd_160.py',
                    work_root / arm / f'seed_{seed}',
                    seed,
                    cost=COST,
                    options={**COMMON, **settings, **ARMS[arm].options, **given},
                ),
                given,
            )


def _check(detectors: Sequence[Measured], rows: Rows) -> None:
    """Look at data, weights and packages before the first run, where one is missing."""
    missing = next((found for found in detectors if not rows.has(found.identity)), None)
    if missing is not None:
        check_corruptions()
        prepare_process()
        run_preflight(deepcopy(missing.config), 'train')
