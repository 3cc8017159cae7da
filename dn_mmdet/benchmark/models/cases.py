"""What can be measured: norms, cases in which they take turns, and the sets of cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from ...utils.python39 import zip_strict
from ..case import LAYOUTS, MODES, Case

__all__ = [
    'AXES',
    'BASELINE',
    'MOBILENET',
    'NORMS',
    'PLACE',
    'PRESETS',
    'SETTLE',
    'ModelCase',
    'Norm',
    'Point',
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
# What is compared unless somebody says what.
COMPARED = tuple(NORMS)
# Other forms of the SC-Module.
NORMS |= {f'DNB-r{r}': Norm(f'DN-B, r={r}', dict(DNB, r=r), 1.0) for r in (4, 8, 32)}
NORMS |= {f'DNB-g{g}': Norm(f'DN-B, g={g}', dict(DNB, g=g), 1.0) for g in (1, 2, 4)}
# What cases are combined of.
GRID = ('model', 'mode', 'layout', 'dtype', 'batch', 'size')
# What a result is looked up by; the rest of a case says how it is measured.
PLACE = (*GRID, 'width', 'threads', 'compile')


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
        width (float): Factor of all widths, of mbv2.
        threads (int, optional): CPU threads; None leaves those of the process.
        compile (bool): The models go through ``torch.compile``, for this input alone.
        layer_rounds (int): Rounds of their own in which the norm layers inside of the models are
            timed, on a CPU.
    """

    model: str = MOBILENET
    batch: int = 8
    size: int = 224
    norms: tuple[str, ...] = COMPARED
    optimizer: bool = False
    width: float = 1.0
    threads: int | None = None
    compile: bool = False
    layer_rounds: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width != 1 and self.model != MOBILENET:
            raise ValueError(f'width is of {MOBILENET} alone, got {self.width} for {self.model}')
        object.__setattr__(self, 'norms', tuple(dict.fromkeys((BASELINE, *self.norms))))

    @property
    def place(self) -> tuple:
        """What its result is looked up by."""
        return tuple(getattr(self, name) for name in PLACE)

    @property
    def name(self) -> str:
        """The place in words."""
        width = '' if self.width == 1 else f', width {self.width:g}'
        threads = '' if self.threads is None else f', threads {self.threads}'
        return (
            f'{self.model} {self.mode}, batch {self.batch} at {self.size}, {self.layout}, '
            f'{self.dtype}{width}{threads}{", compiled" if self.compile else ""}'
        )

    @property
    def cost(self) -> float:
        """Expected seconds on two cores; only proportions count once a case has been run."""
        images = self.batch * self.size**2 / (8 * 224**2) * self.width
        images *= 2 if self.threads == 1 else 1
        step = (0.02 + 0.43 * images) if self.mode == 'train' else (0.01 + 0.12 * images)
        # Besides the rounds, a step under the profiler and, for small inputs, building.
        rounds = (self.repeats + self.warmup) * (1 + SETTLE) + 3
        rounds += (self.layer_rounds + 1) * (1 + SETTLE) if self.layer_rounds else 0
        build = 25 if self.compile else 0.5
        return sum(build + NORMS[norm].cost * step * rounds for norm in self.norms)


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
    return [ModelCase(**dict(zip_strict(GRID, place)), **how) for place in places]


def _sweep(cases: list[ModelCase], norms: tuple[str, ...], repeats: int) -> list[ModelCase]:
    """Cases for the picture: fewer norms, the heavy ones left out."""
    return [replace(case, norms=norms, repeats=repeats, warmup=1) for case in cases]


class Point(NamedTuple):
    """A place on an axis along which the cost of a norm is looked at.

    Attributes:
        text (str): What it is, as '16'.
        case (ModelCase): Its training step; that of the evaluation differs in the mode alone.
        norm (str): The one that is compared with BN.
    """

    text: str
    case: ModelCase
    norm: str = 'DNB'

    def in_mode(self, mode: str) -> ModelCase:
        """Its case; an evaluation is shorter, so there is time for more rounds."""
        return replace(self.case, mode=mode, repeats=7 if mode == 'train' else 9)


def _axes(forms: tuple[str, ...]) -> dict[str, list[Point]]:
    # The rounds of the layers are enough of a warm-up.
    centre = ModelCase(norms=forms, threads=2, layer_rounds=3, warmup=0)

    def at(text: object, **change: object) -> Point:
        case = replace(centre, **change)
        # All forms take turns in the middle, where the axes meet.
        return Point(str(text), case if case == centre else replace(case, norms=('DNB',)))

    def form(text: object, norm: str = 'DNB') -> Point:
        return Point(str(text), centre, norm)

    return {
        'batch size': [at(n, batch=n) for n in (1, 2, 4, 8, 16, 32)],
        'image size': [
            *(at(size, size=size) for size in (96, 160, 224, 320)),
            # With eight images they would take a minute of rounds, and gigabytes, each.
            at('448, batch 4', size=448, batch=4),
            at('640, batch 2', size=640, batch=2),
        ],
        'width': [at(width, width=width) for width in (0.25, 0.5, 1.0, 2.0)],
        'threads': [at(threads, threads=threads) for threads in (1, 2)],
        'r': [form(4, 'DNB-r4'), form(8, 'DNB-r8'), form(16), form(32, 'DNB-r32')],
        'g': [form(1, 'DNB-g1'), form(2, 'DNB-g2'), form(4, 'DNB-g4'), form('oup')],
    }


# One thing at a time is changed, from batch 8 at 224, width 1.0, 2 threads, r=16 and g='oup'.
AXES = _axes(('DNB', *(norm for norm in NORMS if norm not in COMPARED)))


FLOATS = ('float32', 'bfloat16')
FEW = (BASELINE, 'DNB', 'naive', 'SEBN')
# What the limits are about, then batch sizes and resolutions for the picture. `cpu` takes nine
# or ten minutes on two quiet cores, `growth` twelve; `cuda` is for one card of 80 GB.
PRESETS = {
    'cpu': [
        *grid(modes=('train',)),
        *grid(modes=('eval',), repeats=15),
        *_sweep(grid(layouts=('contiguous',), batches=(1, 4, 8), sizes=(160,)), FEW, 9),
        *_sweep(grid(layouts=('contiguous',), batches=(1, 2)), FEW, 15),
        *_sweep(grid(layouts=('contiguous',), batches=(1, 2), sizes=(320,)), FEW, 9),
    ],
    'cuda': [
        *grid(
            dtypes=FLOATS,
            batches=(64,),
            sizes=(320,),
            repeats=15,
            warmup=5,
            norms=tuple(norm for norm in COMPARED if norm != 'DNB-aten'),
        ),
        *_sweep(
            grid(dtypes=FLOATS, layouts=('channels_last',), batches=(1, 8, 32), sizes=(224, 320)),
            FEW,
            15,
        ),
    ],
    # The longest first: what does not fit is seen at once.
    'growth': sorted(
        {point.in_mode(mode) for points in AXES.values() for point in points for mode in MODES},
        key=lambda case: case.cost,
        reverse=True,
    ),
}
