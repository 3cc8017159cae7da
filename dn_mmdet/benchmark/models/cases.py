"""What can be measured: norms, cases in which they take turns, and the sets of cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

from ...utils.python39 import zip_strict
from ..case import LAYOUTS, MODES, Case

__all__ = [
    'BASELINE',
    'MOBILENET',
    'NORMS',
    'PLACE',
    'PRESETS',
    'SETTLE',
    'ModelCase',
    'Norm',
    'grid',
]

BASELINE = 'BN'
MOBILENET = 'mbv2'
DNB = dict(type='DNB', r=16, g='oup')
# Untimed steps of a model before each timed one.
SETTLE = 1


@dataclass(frozen=True)
class Norm:
    """A norm layer in a model, and how it is to run.

    Attributes:
        label (str): Its name in tables.
        cfg (dict): ``norm_cfg``.
        cost (float): Expected time of a training step against BN, for the time left alone.
        fold (bool | str | None): ``fold_activation`` of the backbone; None leaves its default.
        path (str): Of DN-B's operator.
    """

    label: str
    cfg: dict
    cost: float
    fold: bool | str | None = None
    path: str = 'auto'


NORMS = {
    BASELINE: Norm('BN', dict(type='BN'), 1.0),
    'DNB': Norm('DN-B', DNB, 1.0),
    'DNB-unfolded': Norm('DN-B, ReLU6 apart', DNB, 1.0, fold=False),
    'DNB-recompute': Norm('DN-B, ReLU6 recomputed', DNB, 1.1, fold='recompute'),
    'DNB-aten': Norm('DN-B, no compiler', DNB, 1.1, path='aten'),
    # The paper's equation out of nn.BatchNorm2d, a mean, two linear layers and an affine map.
    'naive': Norm('DN-B, naive', DNB, 1.9, fold=False, path='reference'),
    'SEBN': Norm('SE + BN', dict(type='SEBN', r=16), 1.6),
    # 8 divides every width of MobileNetV2.
    'GN': Norm('GroupNorm, 8 groups', dict(type='GN', num_groups=8), 1.5),
}
# What a result is looked up by; the rest of a case says how it is measured.
PLACE = ('model', 'mode', 'layout', 'dtype', 'batch', 'size')


@dataclass(frozen=True)
class ModelCase(Case):
    """Norms that take turns in one model on one input; see :class:`Case` for the rest.

    A dtype other than float32 is by autocast; the layout is that of input and weights. Training
    is forward, loss and backward.

    Attributes:
        model (str): 'mbv2', or the path of a configuration.
        batch (int): Number of images.
        size (int): Their height and width in pixels.
        norms (tuple[str, ...]): Keys of ``NORMS``; BN, which the others are compared with, is
            among them.
        optimizer (bool): A training step ends with one of SGD.
    """

    model: str = MOBILENET
    batch: int = 8
    size: int = 224
    norms: tuple[str, ...] = tuple(NORMS)
    optimizer: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'norms', tuple(dict.fromkeys((BASELINE, *self.norms))))

    @property
    def place(self) -> tuple:
        """What its result is looked up by."""
        return tuple(getattr(self, name) for name in PLACE)

    @property
    def name(self) -> str:
        """The place in words."""
        return (
            f'{self.model} {self.mode}, batch {self.batch} at {self.size}, {self.layout}, '
            f'{self.dtype}'
        )

    @property
    def cost(self) -> float:
        """Expected seconds on two cores; only proportions count once a case has been run."""
        images = self.batch * self.size**2 / (8 * 224**2)
        step = (0.02 + 0.43 * images) if self.mode == 'train' else (0.01 + 0.12 * images)
        # Besides the rounds, a step under the profiler and, for small inputs, building.
        rounds = (self.repeats + self.warmup) * (1 + SETTLE) + 3
        return sum(0.5 + NORMS[norm].cost * step * rounds for norm in self.norms)


def grid(
    models: Iterable[str] = (MOBILENET,),
    modes: Iterable[str] = MODES,
    layouts: Iterable[str] = tuple(LAYOUTS),
    dtypes: Iterable[str] = ('float32',),
    batches: Iterable[int] = (8,),
    sizes: Iterable[int] = (224,),
    **how: object,
) -> list[ModelCase]:
    """Every combination as a case; ``how`` sets further attributes of :class:`ModelCase`."""
    places = product(models, modes, layouts, dtypes, batches, sizes)
    return [ModelCase(**dict(zip_strict(PLACE, place)), **how) for place in places]


def _sweep(cases: list[ModelCase], norms: tuple[str, ...], repeats: int) -> list[ModelCase]:
    """Cases for the picture: fewer norms, the heavy ones left out."""
    return [replace(case, norms=norms, repeats=repeats, warmup=1) for case in cases]


FLOATS = ('float32', 'bfloat16')
FEW = (BASELINE, 'DNB', 'naive', 'SEBN')
# What the limits are about, then batch sizes and resolutions for the picture. `cpu` takes eight
# or nine minutes on two quiet cores; `cuda` is for one card of 80 GB.
PRESETS = {
    'cpu': [
        *grid(modes=('train',)),
        *grid(modes=('eval',), repeats=15),
        *_sweep(grid(layouts=('contiguous',), batches=(1, 4, 8), sizes=(160,)), FEW, 9),
        *_sweep(grid(layouts=('contiguous',), batches=(1,)), FEW, 9),
        *_sweep(grid(layouts=('contiguous',), batches=(1, 2), sizes=(320,)), FEW, 9),
    ],
    'cuda': [
        *grid(
            dtypes=FLOATS,
            batches=(64,),
            sizes=(320,),
            repeats=15,
            warmup=5,
            norms=tuple(norm for norm in NORMS if norm != 'DNB-aten'),
        ),
        *_sweep(
            grid(dtypes=FLOATS, layouts=('channels_last',), batches=(1, 8, 32), sizes=(224, 320)),
            FEW,
            15,
        ),
    ],
}
