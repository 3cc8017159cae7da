"""What can be measured: norms, cells in which they take turns, and the sets of cells."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

__all__ = ['BASELINE', 'DTYPES', 'MOBILENET', 'NORMS', 'PRESETS', 'SETTLE', 'Cell', 'Norm', 'grid']

BASELINE = 'BN'
MOBILENET = 'mbv2'
DTYPES = ('float32', 'bfloat16', 'float16')
DNB = dict(type='DNB', r=16, g='oup')
# Untimed steps of a model before each timed one.
SETTLE = 1


@dataclass(frozen=True)
class Norm:
    """A norm layer in a model, and how it is to run.

    Attributes:
        label (str): its name in tables.
        cfg (dict): ``norm_cfg``.
        cost (float): expected time of a training step against BN, for the time left alone.
        fold (bool | str | None): ``fold_activation`` of the backbone; None leaves its default.
        path (str): of DN-B's operator.
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


@dataclass(frozen=True)
class Cell:
    """Norms that take turns in one model on one input.

    Attributes:
        model (str): 'mbv2', or the path of a configuration.
        mode (str): 'train' for forward, loss and backward, 'eval' for the forward pass in
            evaluation mode without gradients.
        layout (str): 'contiguous' or 'channels_last', of input and weights.
        dtype (str): 'float32', or 'bfloat16' or 'float16' by autocast.
        batch (int), size (int): images, and their height and width in pixels.
        norms (tuple[str, ...]): keys of ``NORMS``; BN, which the others are compared with, is
            among them.
        repeats (int): timed rounds.
        warmup (int): untimed rounds before.
        optimizer (bool): a training step ends with one of SGD.
    """

    model: str = MOBILENET
    mode: str = 'train'
    layout: str = 'contiguous'
    dtype: str = 'float32'
    batch: int = 8
    size: int = 224
    norms: tuple[str, ...] = tuple(NORMS)
    repeats: int = 9
    warmup: int = 1
    optimizer: bool = False

    def __post_init__(self):
        norms = dict.fromkeys((BASELINE, *self.norms))
        object.__setattr__(self, 'norms', tuple(norms))

    @property
    def place(self) -> tuple:
        """What a result is looked up by; the rest says how it is measured."""
        return self.model, self.mode, self.layout, self.dtype, self.batch, self.size

    @property
    def name(self) -> str:
        """The place in words."""
        return (
            f'{self.model} {self.mode}, batch {self.batch} at {self.size}, {self.layout}, '
            f'{self.dtype}'
        )

    @property
    def cost(self) -> float:
        """Expected seconds on two cores; only proportions count once a cell has been run."""
        images = self.batch * self.size**2 / (8 * 224**2)
        step = (0.02 + 0.43 * images) if self.mode == 'train' else (0.01 + 0.12 * images)
        # Beside the rounds, a step under the profiler and, for small inputs, building.
        rounds = (self.repeats + self.warmup) * (1 + SETTLE) + 3
        return sum(0.5 + NORMS[norm].cost * step * rounds for norm in self.norms)


def grid(
    models: Iterable[str] = (MOBILENET,),
    modes: Iterable[str] = ('train', 'eval'),
    layouts: Iterable[str] = ('contiguous', 'channels_last'),
    dtypes: Iterable[str] = ('float32',),
    batches: Iterable[int] = (8,),
    sizes: Iterable[int] = (224,),
    **how,
) -> list[Cell]:
    """Every combination as a cell; ``how`` sets further attributes of :class:`Cell`."""
    return [
        Cell(*place, **how) for place in product(models, modes, layouts, dtypes, batches, sizes)
    ]


def _sweep(cells, norms, repeats):
    """Cells for the picture: fewer norms, the heavy ones left out."""
    return [replace(cell, norms=norms, repeats=repeats, warmup=1) for cell in cells]


FLOATS = ('float32', 'bfloat16')
FEW = (BASELINE, 'DNB', 'naive', 'SEBN')
# What the bars are about, then batch sizes and resolutions for the picture. `cpu` takes eight or
# nine minutes on two quiet cores; `cuda` is for one card of 80 GB.
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
