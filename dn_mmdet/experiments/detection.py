"""The embedded benchmark: BN, DN-B, SE + BN, GN and DN-GN as detectors of the embedded digits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..analysis.corruption import check_corruptions
from ..compare.comparison import Comparison
from ..compare.run import compare_runs, train_missing
from ..datasets import build_digits_coco
from ..paths import configs_root
from ..runs import Training
from ..utils.errors import UserError
from ..utils.files import check_output_folder
from .measure import Measured, compare_measured, measured_rows, train_and_measure
from .rows import Rows
from .rows_report import write_rows_report
from .sc_settings import BASE_LR, CONDITIONED, NORMALIZED, RAW, capped, train_sc

__all__ = ['FORMS', 'VARIANTS', 'Variant', 'compare_embedded']


@dataclass(frozen=True)
class Variant:
    """An arm of the embedded benchmark with something changed.

    Attributes:
        arm (str): Which is changed, as :data:`dn_mmdet.experiments.detection.ARMS` names it.
        options (Mapping[str, Any]): Settings of the detector, dotted key to value. Defaults to {}.
        backbone (str, optional): Arm or variant from whose backbone the detector starts. Defaults
            to None, where the pretraining is changed alike.
        max_sc_lr (float, optional): The detector's SC-Modules are trained at no higher learning
            rate than this; up to it, the arm is the variant ``backbone``. Defaults to None, the
            learning rate of the rest.
    """

    arm: str
    options: Mapping[str, Any] = field(default_factory=dict)
    backbone: str | None = None
    max_sc_lr: float | None = None


# Part of a configuration's name to expected seconds of its pretraining and its detection.
ARMS = {
    'bn': (170, 420),
    'dnb': (235, 560),
    'dnb_g1': (225, 520),
    'sebn': (235, 540),
    'gn': (190, 450),
    'dngn': (260, 600),
}

NAMES = {
    'bn': 'BN',
    'dnb': 'DN-B (16, oup)',
    'dnb_g1': 'DN-B (16, 1)',
    'sebn': 'SE + BN',
    'gn': 'GN',
    'dngn': 'DN-GN (16, oup)',
}

# The arms are the paper's form, whatever the layer's default.
ARM_OPTIONS = {'dnb': RAW, 'dnb_g1': RAW}

# What is compared unless arms are named: the default form beside the paper's.
DEFAULT_ARMS = ('bn', 'normalized', 'dnb', 'dnb_g1', 'sebn', 'gn')

PREFIX = {'pretrain': '', 'train': 'ssdlite_'}

# With a thread for each run a loader process of its own gains nothing; the last checkpoint is
# what is compared, and the data was made here.
COMMON = {
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
    'default_hooks.checkpoint.save_best': None,
    'default_hooks.checkpoint.max_keep_ckpts': 1,
    'preflight.images': False,
}

DETECTION = {'val_evaluator.classwise': True}

LR = 'optim_wrapper.optimizer.lr'

# Folder to settings of the detector, which starts from the same pretrained backbone: four times
# the learning rate, and a step for each two images, one epoch of them at a rate in proportion.
EXTRAS = {
    'lr_x4': {LR: 4 * BASE_LR},
    'batch_2': {
        'train_dataloader.batch_size': 2,
        LR: BASE_LR / 8,
        'train_cfg.max_epochs': 1,
        'param_scheduler.1.end': 1,
        'param_scheduler.1.T_max': 1,
    },
}

# GN is made for small batches.
EXTRA_ARMS = {
    'lr_x4': ('bn', 'normalized', 'dnb'),
    'batch_2': ('bn', 'normalized', 'dnb', 'gn', 'dngn'),
}
EXTRA_SEED = 0

# So many times as fast as the rest.
FAST, SLOW = train_sc(lr_mult=4.0), train_sc(lr_mult=0.25)

# Part of a folder's name to what is tried.
VARIANTS = {
    'sc_lr_x4': Variant('dnb', FAST),
    'g1_sc_lr_x4': Variant('dnb_g1', FAST),
    'bn_backbone': Variant('dnb', {'allow_bn_checkpoint': True}, backbone='bn'),
    'normalized': Variant('dnb', NORMALIZED),
    'normalized_sc_lr_x4': Variant('dnb', {**NORMALIZED, **FAST}),
    'normalized_slow_sc': Variant('dnb', {**NORMALIZED, **SLOW}),
}

# The same for the forms of the SC-Module that docs/method.md describes, and one that differs from
# 'normalized' at high rates alone.
FORMS = {
    'normalized_capped_sc': Variant('dnb', NORMALIZED, backbone='normalized', max_sc_lr=BASE_LR),
    **{name: Variant('dnb', options) for name, options in CONDITIONED.items()},
    'g1_normalized': Variant('dnb_g1', NORMALIZED),
    **{f'g1_{name}': Variant('dnb_g1', options) for name, options in CONDITIONED.items()},
}


ABOUT = """\
SSDLite with a half-width MobileNetV2 on the embedded digits, 160 pixels, COCO mAP on *val* after \
the last epoch; each backbone is pretrained on single digits with the same seed and norm, except \
where a name says otherwise. Made by `python tools/compare_digits.py --measure`, from [every \
run](detectors.csv)."""


def compare_embedded(
    work_root: str | os.PathLike = 'work_dirs/compare',
    seeds: Sequence[int] = (0, 1, 2),
    workers: int | None = None,
    extra: bool = False,
    variants: bool | Sequence[str] = False,
    out: str | os.PathLike | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    arms: Sequence[str] = DEFAULT_ARMS,
    measure: bool = False,
    **report: Any,
) -> Comparison | None:
    """Train each arm with each seed where that is missing, then compare mAP on val.

    An arm is a backbone that is pretrained on single digits and then, with the same seed, trained
    as a detector. All have the same number of steps and differ in the norm of the backbone and
    in that checkpoint. What is compared is the last epoch; nothing is selected on val. Seed
    after seed, so that whole seeds are there whenever it is stopped.

    Args:
        work_root (str | PathLike): A run is in ``<configuration's name>/seed_<seed>`` of it.
            Defaults to 'work_dirs/compare'.
        seeds (Sequence[int]): Seeds of every arm. Defaults to (0, 1, 2).
        workers (int, optional): Runs at a time. Defaults to one for each core, with a GPU to 1.
        extra (bool): Then also compare those of ``arms`` that are BN or DN-B (16, oup), in its
            default form or the paper's, seed 0, at four times the learning rate and, those that
            are GN or DN-GN too, at batch size 2, in ``lr_x4/`` and ``batch_2/`` of ``out``; with
            variants that are named, these too, and all with all seeds. Defaults to False.
        variants (bool | Sequence[str]): Then also compare BN and DN-B with the latter's
            :data:`dn_mmdet.experiments.detection.VARIANTS`, or with those named of them and of
            :data:`dn_mmdet.experiments.detection.FORMS`, with all seeds, in ``variants/`` of
            ``out``. Defaults to False.
        out (str | PathLike, optional): Folder of the report. Defaults to ``work_root``.
        cfg_options (Mapping[str, Any], optional): Settings of every run, dotted key to value.
        arms (Sequence[str]): Which are compared first, of
            :data:`dn_mmdet.experiments.detection.ARMS`, in which DN-B has the paper's form, and of
            the variants. Defaults to all arms but DN-GN, and DN-B's default form.
        measure (bool): Also measure each detector as soon as it is trained: on corrupted images,
            and with alpha and lambda held at their means. It then has a row in ``detectors.csv``
            of ``out``, of which ``detectors.md`` is the report, and one that has is not trained
            again; a comparison of logs and predictions is only made where all of its runs are in
            ``work_root``. Defaults to False.
        **report (Any): Further arguments of :func:`compare_runs`.

    Returns:
        Comparison | None: Of the arms; None where not all of their runs are in ``work_root``.

    Raises:
        UserError: Too few runs can be compared, there is no such arm or variant, or images cannot
            be corrupted here.
        KeyboardInterrupt: The message says how to continue.
    """
    check_output_folder(work_root, '--work-root')
    check_output_folder(out or work_root, '--out')
    work_root, out = Path(work_root), Path(out or work_root)
    forms = {**VARIANTS, **FORMS}
    named = {} if isinstance(variants, bool) else _chosen('variant', variants, forms)
    chosen = (VARIANTS if variants else {}) if isinstance(variants, bool) else named
    first_arms = _chosen('arm', arms, {**{arm: Variant(arm) for arm in ARMS}, **forms})
    rows = measured_rows(out / 'detectors.csv') if measure else None
    if measure:
        check_corruptions()
    build_digits_coco('data/digits')
    seeds = list(dict.fromkeys(seeds))

    def plan() -> _Plan:
        return _Plan(work_root, cfg_options or {}, rows)

    first = plan()
    for seed in seeds:
        first.add_all(seed, first_arms)
    comparison = first.compare(workers, out=out, **report)
    for name, further in _further(plan, seeds, first_arms if extra else {}, chosen, named).items():
        print(f'\n{name}:')
        further.compare(workers, out=out / name, **report)
    if rows is not None and (found := rows.read()):
        print(write_rows_report(found, out / 'detectors.md', 'Detectors of the digits', ABOUT))
    return comparison


def _chosen(kind: str, names: Sequence[str], known: Mapping[str, Variant]) -> dict[str, Variant]:
    for name in names:
        if name not in known:
            raise UserError(f'There is no {kind} {name!r}: give any of {", ".join(known)}.')
    return {name: known[name] for name in names}


def _further(
    new_plan: Callable[[], _Plan],
    seeds: Sequence[int],
    extra: Mapping[str, Variant],
    variants: Mapping[str, Variant],
    named: Mapping[str, Variant],
) -> dict[str, _Plan]:
    """Name of each further comparison to its plan; what was named is in the extra ones too."""
    plans = {}
    for setting, known in EXTRA_ARMS.items():
        chosen = {name: extra[name] for name in known if name in extra}
        if not chosen:
            continue
        plans[setting] = plan = new_plan()
        for seed in seeds if named else (EXTRA_SEED,):
            plan.add_all(seed, {**chosen, **_with_arms(named)}, setting)
    if variants:
        plans['variants'] = plan = new_plan()
        for seed in seeds:
            plan.add_all(seed, {'bn': Variant('bn'), **_with_arms(variants)})
    return plans


def _with_arms(variants: Mapping[str, Variant]) -> dict[str, Variant]:
    """Variants behind the arms that they change."""
    arms = {variant.arm: Variant(variant.arm) for variant in variants.values()}
    return {**arms, **variants}


class _Plan:
    """Pretrainings and detectors in the order in which they are wanted."""

    def __init__(self, work_root: Path, given: Mapping[str, Any], rows: Rows | None):
        self.work_root, self.given, self.rows = work_root, given, rows
        self.options = {**COMMON, **given}
        self.trainings: dict[str, Training] = {}
        self.detectors: dict[str, Measured] = {}

    def add_all(self, seed: int, variants: Mapping[str, Variant], setting: str = '') -> None:
        """Add arms and variants by their names; arguments as of :meth:`add`."""
        for name, variant in variants.items():
            self.add(seed, variant, '' if name in ARMS else name, setting)

    def add(self, seed: int, variant: Variant, name: str = '', setting: str = '') -> None:
        """Add a pretraining and the detector that starts from it.

        Args:
            seed (int): Of both.
            variant (Variant): The arm, and what is changed in it.
            name (str): Of the change, in the names of runs and folders. Defaults to '', where
                nothing is changed.
            setting (str): Of the detector alone, a key of ``EXTRAS``. Defaults to '', for none.
        """
        changed = {**EXTRAS.get(setting, {}), **self.options}
        lr = changed.get(LR, BASE_LR)
        if variant.max_sc_lr is not None and lr <= variant.max_sc_lr:
            name, variant = variant.backbone, VARIANTS[variant.backbone]
        start, first_name = variant, name
        if variant.backbone is not None:
            start = VARIANTS.get(variant.backbone, Variant(variant.backbone))
            first_name = variant.backbone if variant.backbone in VARIANTS else ''
        first = self._add(
            'pretrain',
            start.arm,
            seed,
            first_name,
            cost=ARMS[start.arm][0],
            options={**ARM_OPTIONS.get(start.arm, {}), **start.options, **self.options},
        )
        detector = self._add(
            'train',
            variant.arm,
            seed,
            '_'.join(filter(None, [name, setting])),
            cost=ARMS[variant.arm][1],
            after=(first,),
            options={
                **DETECTION,
                **ARM_OPTIONS.get(variant.arm, {}),
                **variant.options,
                **capped(lr, variant.max_sc_lr),
                **changed,
            },
        )
        self.detectors[detector.name] = Measured(name or variant.arm, detector, self.given)

    def compare(self, workers: int | None, **report: Any) -> Comparison | None:
        """Train and compare the detectors with BN's; None where not all of them are here."""
        detectors = list(self.detectors.values())
        if self.rows is not None:
            cache = self.work_root / 'corrupted'
            failed = train_and_measure(detectors, self.rows, workers, cache)
            return compare_measured(detectors, self.rows, failed, **report)
        failed = train_missing(list(self.trainings.values()), workers)
        return compare_runs(
            [detector.training.work_dir for detector in detectors],
            failed=failed,
            **{'test': True, **report},
        )

    def _add(self, what: str, arm: str, seed: int, variant: str, **settings: Any) -> Training:
        name = f'{what} {", ".join(filter(None, [NAMES[arm], variant]))}, seed {seed}'
        if name not in self.trainings:
            stem = f'{PREFIX[what]}mbv2_{arm}_digits'
            folder = '_'.join(filter(None, [stem, variant]))
            self.trainings[name] = Training(
                name,
                configs_root() / 'digits' / f'{stem}.py',
                self.work_root / folder / f'seed_{seed}',
                seed,
                **settings,
            )
        return self.trainings[name]
