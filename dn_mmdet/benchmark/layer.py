"""One norm layer: BN against DN-B on each of its paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..layers import DNB
from ..ops.dispatch import PATHS, choose_path, use_path
from .case import LAYOUTS, Case
from .measure import Subject, measure_subjects

__all__ = ['ACTIVATIONS', 'LayerCase', 'available_paths', 'benchmark_layer']

ACTIVATIONS = ('ReLU6', 'ReLU')
# The detectors' form.
SC_MODULE = dict(r=16, g='oup')


@dataclass(frozen=True)
class LayerCase(Case):
    """An input, and what follows the norm; see :class:`Case` for the rest.

    Attributes:
        shape (tuple[int, int, int, int]): N, C, H, W.
        activation (str, optional): 'ReLU6' or 'ReLU' after the norm. DN-B folds it in.
        device (str): 'cpu' or 'cuda'.

    The dtype is that of the input; the layer's own numbers are float32.
    """

    shape: tuple[int, ...] = ()
    activation: str | None = None
    device: str = 'cpu'
    repeats: int = 15
    warmup: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise ValueError(f'shape must be 4 numbers, each 1 or more, got {self.shape}')
        if self.mode == 'train' and self.shape[0] * self.shape[2] * self.shape[3] == 1:
            raise ValueError(
                f'shape must have more than 1 value per channel for training, got {self.shape}'
            )
        if self.activation not in (None, *ACTIVATIONS):
            raise ValueError(
                f'activation must be one of {", ".join(ACTIVATIONS)}, got {self.activation!r}'
            )

    @property
    def name(self) -> str:
        """The case in words."""
        return f'{"x".join(map(str, self.shape))} {self.mode}, {self.dtype}, {self.layout}'

    def make_input(self) -> Tensor:
        """Random numbers, the same each time."""
        generator = torch.Generator(self.device).manual_seed(0)
        x = torch.randn(self.shape, generator=generator, device=self.device)
        return x.to(getattr(torch, self.dtype)).contiguous(memory_format=LAYOUTS[self.layout])


def benchmark_layer(
    case: LayerCase,
    paths: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Time BN and DN-B on one input, interleaved, and measure their memory.

    Args:
        case (LayerCase): What is measured.
        paths (Sequence[str], optional): Of DN-B. Defaults to all that run for this input.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.

    Returns:
        dict: Attributes of the case; ``rows`` as :func:`measure_subjects` returns them, BN first,
        then DN-B on each path; ``left_out``, path to the reason for which it is missing.
    """
    x = case.make_input()
    found = available_paths(x, PATHS if paths is None else paths)
    subjects = {'BN': _subject(case, 'BN', x)}
    subjects |= {path: _subject(case, 'DN-B', x, path) for path in found}
    rows = measure_subjects(subjects, case, x.device, progress=progress)
    left_out = {
        path: 'not for this input, or not built' for path in paths or () if path not in found
    }
    return dict(asdict(case), rows=rows, left_out=left_out)


def available_paths(x: Tensor, paths: Sequence[str] = PATHS) -> list[str]:
    """Those of the paths of DN-B that run for this input; 'auto' is not among them.

    Args:
        x (Tensor): The input of the layer.
        paths (Sequence[str]): Which to try. Defaults to all.

    Raises:
        ValueError: A path does not exist.
    """
    found = []
    for path in paths:
        try:
            with use_path(path):
                if path != 'auto' and choose_path(x) == path:
                    found.append(path)
        except RuntimeError:  # Its library is not there.
            continue
    return found


def _build(case: LayerCase, norm: str) -> nn.Module:
    channels = case.shape[1]
    if norm == 'DN-B':
        layer = DNB(channels, **SC_MODULE, activation=case.activation)
    else:
        layer = nn.BatchNorm2d(channels)
        if case.activation:
            layer = nn.Sequential(layer, getattr(nn, case.activation)(inplace=True))
    return layer.to(case.device).train(case.mode == 'train')


def _subject(case: LayerCase, norm: str, x: Tensor, path: str | None = None) -> Subject:
    """A layer and what is measured of it.

    Its time is that of the layer alone. Its memory is measured in the place that it has in a
    network: there its input was made in the forward pass and nothing else keeps it, and what
    follows keeps its output, as a convolution does.
    """
    layer, asked = _build(case, norm), path or 'auto'
    if case.mode == 'eval':
        run = partial(_evaluate, layer, x)
        return Subject(norm, run, run, path=path, asked_path=asked)
    x = x.detach().clone().requires_grad_()
    weight = torch.ones((), dtype=x.dtype, device=x.device, requires_grad=True)
    inputs = [x, *(p for p in layer.parameters() if p.requires_grad)]
    dy = torch.randn_like(x)

    # Gradients are returned, so that none is added to what the call before left.
    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(x), inputs, dy)

    def forward() -> Tensor:
        return (layer(x.clone(memory_format=torch.preserve_format)) * weight).sum()

    def backward(loss: Tensor) -> None:
        torch.autograd.grad(loss, [weight, *inputs])

    return Subject(norm, step, forward, backward, path, asked)


@torch.no_grad()
def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)
