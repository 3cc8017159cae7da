"""Small maps on which kernels are held against the reference, in float64 and on the CPU.

Between them they take what selects another kernel: rows of whole vectors and of odd lengths,
several tiles and one that is not full, few and many samples, one group and several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .activation import activate, bounds_of
from .autograd import ClosedFormBatchNorm, Options, train
from .backends import KERNELS
from .precision import compute_dtype
from .reference import reference_dynamic_batch_norm
from .sc import SCForm, SCWeights

__all__ = [
    'EPS',
    'LAYOUTS',
    'MODES',
    'MOMENTUM',
    'Case',
    'Deviation',
    'Inputs',
    'cases_for',
    'deviations',
    'named',
    'run_kernels',
]

EPS, MOMENTUM = 1e-5, 0.1
LAYOUTS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
# With the statistics of the batch, with running ones, and with these and without gradients.
MODES = ('training', 'frozen', 'evaluation')

# Of the largest number of a result. float32 is exact to 1e-6 or so, and TF32 to 1e-3.
ALLOWED = {
    torch.float64: 1e-10,
    torch.float32: 1e-4,
    torch.float16: 2.5e-3,
    torch.bfloat16: 2e-2,
}
# Outputs this near to a bound of the activation get no gradient: rounding decides there.
NEAR = 0.05


class Case(NamedTuple):
    """A layer and the size of its map.

    Attributes:
        shape (tuple[int, int, int, int]): (N, C, H, W).
        units (int): Of the SC-Module.
        groups (int): Of its second layer.
        form (SCForm): How its weights enter.
        activation (str, optional): Of the output.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
    """

    shape: tuple[int, int, int, int]
    units: int
    groups: int
    form: SCForm
    activation: str | None
    detach_gap: bool = False


CASES = (
    Case((2, 8, 33, 64), 40, 1, SCForm(), 'ReLU6'),
    Case((35, 25, 3, 5), 10, 10, SCForm(True, 0.5, 1.5), None),
)
# For Triton's interpreter, to which a program is many milliseconds.
TINY_CASES = (
    Case((2, 3, 3, 4), 4, 1, SCForm(), 'ReLU6'),
    Case((3, 2, 1, 3), 2, 2, SCForm(True, 0.5, 1.5), None),
)


class Inputs(NamedTuple):
    """What goes into a layer.

    Attributes:
        x (Tensor): The map.
        running (tuple[Tensor, Tensor]): Mean and variance, to be updated in training.
        weights (SCWeights): Of the SC-Module, and offsets.
        dy (Tensor): Gradient of the output.
    """

    x: Tensor
    running: tuple[Tensor, Tensor]
    weights: SCWeights
    dy: Tensor


class Deviation(NamedTuple):
    """How far one result is off.

    Attributes:
        case (Case): Of which layer.
        mode (str): One of ``MODES``.
        name (str): Such as 'output' or 'gradient of fc1_weight'.
        error (float): Relative to the largest number of the result; may be NaN.
        allowed (float): The largest that rounding explains.
    """

    case: Case
    mode: str
    name: str
    error: float
    allowed: float

    @property
    def is_wrong(self) -> bool:
        """Whether rounding does not explain it."""
        return not self.error <= self.allowed

    def __str__(self) -> str:
        return (
            f'{self.name} in {self.mode} is off by {self.error:.2g} of its largest number, where '
            f'{self.allowed:.2g} is allowed, for a map of size {self.case.shape}'
        )


def deviations(
    run: Callable[[Inputs, Case, str], dict[str, Tensor]],
    device: torch.device,
    dtype: torch.dtype,
    layout: str,
    cases: tuple[Case, ...],
) -> Iterator[Deviation]:
    """Hold a way to run the layer against the reference.

    No random number of the process is drawn.

    Args:
        run (Callable): As :func:`run_kernels` without its path.
        device (torch.device): Where it runs.
        dtype (torch.dtype): Of the map.
        layout (str): A key of ``LAYOUTS``.
        cases (tuple[Case, ...]): What is run.

    Yields:
        Deviation: Of each result of each case and mode.
    """
    for case in cases:
        for training in (True, False):
            exact = _draw(case, dtype)
            expected = _run_reference(exact, case, training)
            for mode in MODES[:1] if training else MODES[1:]:
                found = run(_placed(exact, device, dtype, LAYOUTS[layout]), case, mode)
                for name, number in found.items():
                    kind = dtype if name in ('output', 'gradient of x') else compute_dtype(dtype)
                    yield Deviation(case, mode, name, _error(number, expected[name]), ALLOWED[kind])


def cases_for(path: str, device: torch.device) -> tuple[Case, ...]:
    """``CASES``, or smaller ones where Triton's interpreter runs them."""
    return TINY_CASES if path == 'triton' and device.type == 'cpu' else CASES


def run_kernels(path: str, given: Inputs, case: Case, mode: str) -> dict[str, Tensor]:
    """The layer by the kernels of a path, past everything that chooses one.

    No graph is built and no thread of autograd is asked: the caller may be one of them.

    Args:
        path (str): A key of ``KERNELS``.
        given (Inputs): The running statistics are written to in training.
        case (Case): The layer.
        mode (str): One of ``MODES``.

    Returns:
        dict[str, Tensor]: Name to result; in evaluation there is only the output.
    """
    kernels, bounds = KERNELS[path], bounds_of(case.activation)
    with torch.no_grad():
        if mode == 'evaluation' and kernels.EVALUATES:
            y = kernels.evaluate(given.x, *given.running, given.weights, EPS, case.form, bounds)
            return {'output': y}
        training = mode == 'training'
        statistics = (None, None) if training else given.running
        if hasattr(kernels, 'layer_forward'):
            y, mean, unbiased, kept = kernels.layer_forward(
                given.x, *statistics, given.weights, EPS, case.form, bounds
            )
            if training:
                given.running[0].lerp_(mean, MOMENTUM)
                given.running[1].lerp_(unbiased, MOMENTUM)
            gradients = kernels.layer_backward(
                given.dy, given.x, kept, given.weights, training, case.form, case.detach_gap, bounds
            )
            return named(y, given.running, gradients)
        context = _Context()
        options = Options(EPS, case.form, case.detach_gap, bounds, recompute=False)

        def forward(options: Options) -> tuple[Tensor | None, ...]:
            return ClosedFormBatchNorm.forward(
                context, kernels, options, *statistics, given.x, *given.weights
            )

        if training:
            y = train(kernels, options, *given.running, MOMENTUM, forward)
        else:
            y = forward(options)[0]
        if mode == 'evaluation':
            return {'output': y}
        gradients = ClosedFormBatchNorm.backward(context, given.dy)[4:]
    return named(y, given.running, gradients)


def named(
    y: Tensor, running: tuple[Tensor, Tensor], gradients: tuple[Tensor, ...]
) -> dict[str, Tensor]:
    """Results by the names that a report has for them.

    Args:
        y (Tensor): The output.
        running (tuple[Tensor, Tensor]): Mean and variance.
        gradients (tuple[Tensor, ...]): Of x and of the weights, in their order.
    """
    names = [f'gradient of {name}' for name in ('x', *SCWeights._fields)]
    statistics = zip(('running_mean', 'running_var'), running)
    return {'output': y.detach(), **dict(statistics), **dict(zip(names, gradients))}


class _Context:
    """What autograd hands to a Function, without autograd."""

    needs_input_grad = (False,) * 4 + (True,) * (1 + len(SCWeights._fields))

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        pass


def _draw(case: Case, dtype: torch.dtype) -> Inputs:
    """Numbers that the dtypes of a layer can hold, in float64."""
    generator, narrow = torch.Generator().manual_seed(0), compute_dtype(dtype)

    def normal(*size: int, of: torch.dtype = narrow) -> Tensor:
        drawn = torch.randn(size, generator=generator, dtype=torch.float64)
        return drawn.to(of).double()

    c, units = case.shape[1], case.units
    x = (1 + normal(*case.shape, of=torch.float64)).to(dtype).double()
    weights = SCWeights(
        normal(units, c), normal(units), normal(2 * c, units // case.groups) / 8,
        1 + normal(c) / 4, normal(c),
    )  # fmt: skip
    return Inputs(x, (normal(c), (1 + normal(c).square())), weights, normal(*case.shape, of=dtype))


def _placed(
    exact: Inputs, device: torch.device, dtype: torch.dtype, layout: torch.memory_format
) -> Inputs:
    def number(tensor: Tensor) -> Tensor:
        # A copy: the running statistics are written to.
        return tensor.to(device, compute_dtype(dtype), copy=True)

    def map_(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype, copy=True).contiguous(memory_format=layout)

    running = tuple(number(tensor) for tensor in exact.running)
    weights = SCWeights._make(number(tensor) for tensor in exact.weights)
    return Inputs(map_(exact.x), running, weights, map_(exact.dy))


def _run_reference(exact: Inputs, case: Case, training: bool) -> dict[str, Tensor]:
    """What is to come out. Where rounding would decide, it takes away the gradient, in place."""
    running = tuple(tensor.clone() for tensor in exact.running)
    leaves = [tensor.clone().requires_grad_() for tensor in (exact.x, *exact.weights)]
    inner = reference_dynamic_batch_norm(
        leaves[0], *running, SCWeights._make(leaves[1:]), training, MOMENTUM, EPS,
        case.form, case.detach_gap, None,
    )  # fmt: skip
    y = activate(inner, case.activation)
    for bound in bounds_of(case.activation) or ():
        exact.dy[(inner.detach() - bound).abs() < NEAR] = 0
    return named(y, running, torch.autograd.grad(y, leaves, exact.dy))


def _error(found: Tensor, expected: Tensor) -> float:
    found = found.detach().to('cpu', torch.float64)
    return ((found - expected).abs().max() / expected.abs().max()).item()
