"""What is trained: the cells of the paper's Tables 1, 2, 4, 6, 7 and 8, in small."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...paths import configs_root
from ...utils.errors import UserError
from ..sc_settings import BASE_LR, CONDITIONED, NORMALIZED, capped, train_sc

__all__ = [
    'AblationCell',
    'BASE_BATCH',
    'BASE_LR',
    'CAPPED',
    'CONFIG',
    'FORMS',
    'HIGH_LR',
    'ITERATIONS',
    'PAPER',
    'SC_VARIANTS',
    'TEST_BATCHES',
    'Tables',
    'plan',
]

HIGH_LR = 4 * BASE_LR

BASE_BATCH = 64

# As in the paper, a smaller batch sees fewer images: more steps, but not as many more.
ITERATIONS = {64: 400, 32: 600, 16: 800, 8: 1000, 4: 1500, 2: 2000}

# The held-out images are always all seen; the paper's Table 4 asks if their batching matters.
TEST_BATCHES = (1, 2, 32)

PAPER, SLOW = "start='paper'", 'SC learning rate x 0.1'

# The SC-Modules keep the usual learning rate at higher ones.
CAPPED = 'normalized_capped_sc'

# Ways to change the SC-Module that the layer and the optimizer offer, as options of the config.
SC_VARIANTS = {
    'SC input normalised': NORMALIZED,
    'gradient stopped at g': {'model.backbone.norm_cfg.detach_gap': True},
    SLOW: train_sc(lr_mult=0.1),
    'no weight decay on SC': train_sc(decay_mult=0.0),
    PAPER: {'model.backbone.norm_cfg.start': 'paper'},
}

# Forms that docs/method.md describes, which are trained where they are asked for.
FORMS = {CAPPED: NORMALIZED, **CONDITIONED}

NAMES = {'BN': 'BN', 'SEBN': 'SE + BN', 'DNC': 'DN-C', 'DNB': 'DN-B'}

BN = dict(norm='BN')

SE = dict(norm='SEBN', r=16)

DNC = [dict(norm='DNC', r=16, g=1, fuse=fuse) for fuse in ('fc1', 'fc2')]

DNB, DNB_OUP = dict(norm='DNB', r=16, g=1), dict(norm='DNB', r=16, g='oup')

COMPARED = (BN, DNB, DNB_OUP, dict(DNB_OUP, variant=SLOW))

# Where DN-B with g='oup' falls short of BN.
SMALL_BATCH = dict(batch_size=8, iterations=ITERATIONS[8])

CONFIG = configs_root() / 'digits' / 'mbv2_ablation_digits.py'


@dataclass(frozen=True)
class AblationCell:
    """One training of the ablations.

    Attributes:
        norm (str): Type of the norm layer. Defaults to 'BN'.
        r (int, optional): Its reduction ratio, where it has one.
        g (int | str, optional): Its channels of a group, where it has groups.
        fuse (str, optional): Where DN-C adds its branches.
        variant (str, optional): One of ``SC_VARIANTS`` or ``FORMS``.
        lr (float): Learning rate at the start. Defaults to 0.05.
        batch_size (int): Images of a training step. Defaults to 64.
        iterations (int): Training steps. Defaults to 400.
        seed (int): Of weights, order and crops. Defaults to 0.
    """

    norm: str = 'BN'
    r: int | None = None
    g: int | str | None = None
    fuse: str | None = None
    variant: str | None = None
    lr: float = BASE_LR
    batch_size: int = BASE_BATCH
    iterations: int = ITERATIONS[BASE_BATCH]
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the cell's folder."""
        parts = [self.norm.lower()]
        parts += [f'{key}{getattr(self, key)}' for key in ('r', 'g') if getattr(self, key)]
        parts += [re.sub(r'\W+', '-', part) for part in (self.fuse, self.variant) if part]
        return '_'.join([*parts, f'lr{self.lr:g}', f'b{self.batch_size}', f'seed{self.seed}'])

    @property
    def module(self) -> str:
        """The norm as the tables of the paper write it, with what sets it apart."""
        where = [f'after {self.fuse.upper()}'] if self.fuse else []
        return ', '.join(
            [NAMES.get(self.norm, self.norm), *where, *([self.variant] if self.variant else [])]
        )

    @property
    def label(self) -> str:
        """The norm with its arguments."""
        arguments = ', '.join(str(a) for a in (self.r, self.g) if a is not None)
        return self.module + (f' ({arguments})' if arguments else '')

    @property
    def baseline(self) -> AblationCell:
        """BN at the same learning rate, batch size and seed."""
        return AblationCell(
            lr=self.lr, batch_size=self.batch_size, iterations=self.iterations, seed=self.seed
        )

    @property
    def setting(self) -> tuple:
        """The cell without its seed, as a tuple: cells of one setting are averaged."""
        return tuple(value for key, value in asdict(self).items() if key != 'seed')

    @property
    def options(self) -> dict[str, Any]:
        """What ``--cfg-options`` makes the configuration this cell."""
        keys = {key: getattr(self, key) for key in ('r', 'g', 'fuse')}
        norm = {'type': self.norm, **{k: v for k, v in keys.items() if v is not None}}
        if self.norm == 'DNB':
            norm['sc_input'] = 'raw'
        return {
            **{f'model.backbone.norm_cfg.{key}': value for key, value in norm.items()},
            'optim_wrapper.optimizer.lr': self.lr,
            'train_dataloader.batch_size': self.batch_size,
            'train_cfg.max_iters': self.iterations,
            'train_cfg.val_interval': self.iterations,
            'default_hooks.checkpoint.interval': self.iterations,
            'param_scheduler.0.end': self.iterations,
            'param_scheduler.0.T_max': self.iterations,
            'randomness.seed': self.seed,
            **{**SC_VARIANTS, **FORMS}.get(self.variant, {}),
            **capped(self.lr, BASE_LR if self.variant == CAPPED else None),
        }


# Table to its cells in the order of its rows; a cell may stand in several.
Tables = Mapping[str, Sequence[AblationCell]]


def plan(seeds: Sequence[int] = (0, 1, 2), variants: Sequence[str] = ()) -> Tables:
    """All cells, seed by seed, so that an early stop leaves whole seeds.

    Args:
        seeds (Sequence[int]): Seeds of every setting. Defaults to (0, 1, 2).
        variants (Sequence[str]): Of ``SC_VARIANTS`` or ``FORMS``, which DN-B, g = 1 and 'oup', is
            given at every learning rate and batch size too. Defaults to none.

    Returns:
        Tables: Table to its cells in the order of its rows; a cell may stand in several.

    Raises:
        UserError: There is no such variant.
    """
    known = {**SC_VARIANTS, **FORMS}
    for name in variants:
        if name not in known:
            raise UserError(
                f'There is no variant {name!r} of the SC-Module to train: give any of '
                f'{", ".join(map(repr, known))}.'
            )
    compared = [*COMPARED]
    compared += [
        setting
        for name in variants
        for norm in (DNB, DNB_OUP)
        if (setting := dict(norm, variant=name)) not in compared
    ]
    # At the usual rate a cap changes nothing.
    uncapped = [norm for norm in compared if norm.get('variant') != CAPPED]
    settings = {  # every cell's BN at the same learning rate and batch size is among them
        'module': [
            BN,
            SE,
            *DNC,
            DNB,
            DNB_OUP,
            *(dict(norm, variant=PAPER) for norm in (*DNC, DNB_OUP)),
        ],
        'r': [dict(norm='DNB', r=r, g=1) for r in (8, 16, 32)],
        'g': [dict(norm='DNB', r=16, g=g) for g in (1, 2, 4, 'oup')],
        'learning rate': [
            dict(norm, lr=lr)
            for lr in (BASE_LR, 2 * BASE_LR, HIGH_LR)
            for norm in (compared if lr > BASE_LR else uncapped)
        ],
        'batch size': [
            dict(norm, batch_size=batch, iterations=iterations)
            for batch, iterations in ITERATIONS.items()
            for norm in uncapped
        ],
        'test batch size': [BN, DNB, DNB_OUP],
        'variant': [
            dict(norm, **at, variant=variant)
            for norm, at in ((DNB, dict(lr=HIGH_LR)), (DNB_OUP, SMALL_BATCH))
            for variant in (None, *SC_VARIANTS)
            if variant != PAPER
        ],
    }
    return {
        table: [AblationCell(**setting, seed=seed) for seed in seeds for setting in rows]
        for table, rows in settings.items()
    }
