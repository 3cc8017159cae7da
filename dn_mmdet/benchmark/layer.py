"""One norm layer, BN against DN-B on each of its paths."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..layers import DNB
from ..ops.dispatch import PATHS, choose_path, use_path
from .environment import LAYOUTS, MODES
from .memory import measure_memory
from .timing import choose_number, summarise_times, time_interleaved

__all__ = ['ACTIVATIONS', 'Case', 'available_paths', 'benchmark_layer']

BASELINE = 'BN'
ACTIVATIONS = ('ReLU6', 'ReLU')
# The detectors' form.
SC_MODULE = dict(r=16, g='oup')


@dataclass(frozen=True)
class Case:
    """An input, and what follows the norm.

    Attributes:
        shape (tuple[int, int, int, int]): N, C, H, W.
        dtype (str): 'float32', 'bfloat16' or 'float16'; the layer's own numbers are float32.
        layout (str): 'contiguous' or 'channels_last'.
        mode (str): 'train' for forward and backward, 'eval' for the forward pass in evaluation.
        activation (str, optional): 'ReLU6' or 'ReLU' behind the norm. DN-B folds it in.
        device (str): 'cpu' or 'cuda'.
    """

    shape: tuple[int, ...]
    dtype: str = 'float32'
    layout: str = 'contiguous'
    mode: str = 'train'
    activation: str | None = None
    device: str = 'cpu'

    def __post_init__(self):
        if len(self.shape) != 4 or min(self.shape) < 1:
            raise ValueError(f'shape must be 4 numbers of 1 or more, got {self.shape}')
        if self.mode == 'train' and self.shape[0] * self.shape[2] * self.shape[3] == 1:
            raise ValueError(
                f'shape must have more than 1 value per channel for training, got {self.shape}'
            )
        for name, choices in (('layout', LAYOUTS), ('mode', MODES)):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f'{name} must be one of {", ".join(choices)}, got {getattr(self, name)!r}'
                )
        if self.activation not in (None, *ACTIVATIONS):
            raise ValueError(
                f'activation must be one of {", ".join(ACTIVATIONS)}, got {self.activation!r}'
            )

    def make_input(self) -> Tensor:
        """Random numbers, the same each time."""
        generator = torch.Generator(self.device).manual_seed(0)
        x = torch.randn(self.shape, generator=generator, device=self.device)
        return x.to(getattr(torch, self.dtype)).contiguous(memory_format=LAYOUTS[self.layout])


def available_paths(x: Tensor, paths: Sequence[str] = PATHS) -> list[str]:
    """Those of the paths of DN-B that run for this input; 'auto' is not among them.

    Args:
        x (Tensor): The input of the layer.
        paths (Sequence[str]): Which to try. Default: all.

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


def benchmark_layer(
    case: Case,
    paths: Sequence[str] | None = None,
    repeats: int = 15,
    warmup: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict]:
    """Time BN and DN-B on one input, interleaved, and measure their memory.

    Args:
        case (Case): The input.
        paths (Sequence[str], optional): Of DN-B. Default: all that run for this input.
        repeats (int): Timed rounds. Defaults to 15.
        warmup (int): Untimed rounds before. Defaults to 3.
        progress (Callable[[int, int], None], optional): Told the rounds that are done, of all.

    Returns:
        list[dict]: BN first, then DN-B on each path: the case, ``norm``, ``path``, the numbers of
        :class:`Timing`, and ``saved`` and ``peak`` in bytes with their ratios to BN. In
        evaluation nothing is saved, and ``saved`` is None.
    """
    x = case.make_input()
    paths = available_paths(x) if paths is None else available_paths(x, paths)
    layers = {BASELINE: _build_bn(case)} | {f'DN-B {path}': _build_dnb(case) for path in paths}
    path_of = dict(zip(list(layers)[1:], paths, strict=True))

    def context(label):
        return use_path(path_of[label]) if label in path_of else nullcontext()

    calls = {label: _call(layer, x, case.mode) for label, layer in layers.items()}
    times = time_interleaved(
        calls,
        repeats=repeats,
        warmup=warmup,
        number=choose_number(calls[BASELINE], device=case.device),
        device=case.device,
        context=context,
        progress=progress,
    )
    rows = []
    for label, timing in summarise_times(times, BASELINE).items():
        with context(label):
            memory = _measure_memory(layers[label], x, case.mode)
        base = rows[0] if rows else memory
        rows.append(
            {
                **asdict(case),
                'norm': 'DN-B' if label in path_of else BASELINE,
                'path': path_of.get(label),
                **asdict(timing),
                **memory,
                'saved_ratio': _ratio(memory['saved'], base['saved']),
                'peak_ratio': _ratio(memory['peak'], base['peak']),
            }
        )
    return rows


def _build_bn(case: Case) -> nn.Module:
    layer = nn.BatchNorm2d(case.shape[1])
    if case.activation:
        layer = nn.Sequential(layer, getattr(nn, case.activation)(inplace=True))
    return layer.to(case.device).train(case.mode == 'train')


def _build_dnb(case: Case) -> nn.Module:
    layer = DNB(case.shape[1], **SC_MODULE, activation=case.activation)
    return layer.to(case.device).train(case.mode == 'train')


def _call(layer: nn.Module, x: Tensor, mode: str) -> Callable[[], object]:
    if mode == 'eval':
        return partial(_evaluate, layer, x)
    x = x.detach().clone().requires_grad_()
    inputs = [x, *(p for p in layer.parameters() if p.requires_grad)]
    dy = torch.randn_like(x)
    # Gradients are returned, so that none is added to what the call before left.
    return lambda: torch.autograd.grad(layer(x), inputs, dy)


@torch.no_grad()
def _evaluate(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)


def _measure_memory(layer: nn.Module, x: Tensor, mode: str) -> dict[str, int | None]:
    """Bytes in the place that the layer has in a network.

    There, its input was made in the forward pass and nothing else keeps it, and what follows keeps
    its output, as a convolution does.
    """
    if mode == 'eval':
        peak = measure_memory(partial(_evaluate, layer, x), device=x.device).peak
        return dict(saved=None, peak=peak)
    x = x.detach().clone().requires_grad_()
    weight = torch.ones((), dtype=x.dtype, device=x.device, requires_grad=True)
    inputs = [x, weight, *(p for p in layer.parameters() if p.requires_grad)]

    def forward():
        return (layer(x.clone(memory_format=torch.preserve_format)) * weight).sum()

    def backward(loss):
        torch.autograd.grad(loss, inputs)

    return measure_memory(forward, backward, x.device)._asdict()


def _ratio(value: int | None, base: int | None) -> float | None:
    return None if value is None or not base else value / base
