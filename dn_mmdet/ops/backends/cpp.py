"""The kernels in C++, for a CPU: one pass each, threads, no temporary map.

The library is built from csrc/ when the package is installed, and used where it is there. Maps
are float32, bfloat16 or float16, sums and numbers per sample and channel float32.

What each function takes and returns: :class:`.kernels.Kernels`.
"""

from __future__ import annotations

import logging
import re
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from ..activation import Gate
from ..precision import to_dense
from ..recompute import is_recomputing, offer_recomputation
from ..sc import SCForm, SCGradients, SCWeights
from ..torch_versions import is_compiling
from .kernels import DTYPES
from .kernels import leave as widen

__all__ = [
    'DTYPES',
    'EVALUATES',
    'FUSES',
    'GATES_FROM_OUTPUT',
    'evaluate',
    'is_available',
    'layer',
    'layer_backward',
    'layer_forward',
    'plane_affine',
    'plane_gradient',
    'plane_means',
    'plane_moments',
    'plane_products',
    'require',
    'sc_backward',
    'sc_forward',
    'why_absent',
    'widen',
]

EVALUATES = True
FUSES = False
GATES_FROM_OUTPUT = False

# Of the library's names and signatures; csrc/library.cpp has the same number.
INTERFACE = 4

# One per torch, as setup.py names it: environments that share a source tree keep theirs.
LIBRARY = Path(__file__).with_name(
    f'_cpp_{"_".join(re.findall("[0-9]+", torch.__version__)[:3])}.so'
)
HOW_TO_BUILD = (
    "install a C++ compiler and run, in the repository of dn_mmdet, 'make install' (after removing "
    ".venv/.installed) or 'pip install --no-build-isolation --no-deps .', with '-e .' where it is "
    'installed in editable mode'
)

_operators = torch.ops.dn_mmdet
_logger = logging.getLogger(__name__)


@cache
def is_available() -> bool:
    """Whether the library is there; if it is not, the logger says why, once per process."""
    reason = why_absent()
    if reason:
        _logger.warning(
            'dn_mmdet: the C++ operators cannot be used (%s), so the slower ATen path is '
            'used; to enable them, %s.',
            reason,
            HOW_TO_BUILD,
        )
    return not reason


def require() -> None:
    """Refuse to continue without the library.

    Raises:
        RuntimeError: It is not there, for the reason in the message.
    """
    reason = why_absent()
    if reason:
        raise RuntimeError(
            f"the path 'cpp' was requested, but its library cannot be used ({reason}): "
            f'{HOW_TO_BUILD}'
        )


@cache
def why_absent() -> str:
    """Load the library; '' where that succeeds."""
    if not LIBRARY.is_file():
        return f'{LIBRARY} has not been built'
    try:
        torch.ops.load_library(LIBRARY)
    except OSError as error:
        return str(error.__cause__ or error)
    built, present = _operators.built_for(), _version(torch.__version__)
    if built != present:
        return f'{LIBRARY} was built for torch {built}, this is {present}'
    if _interface() != INTERFACE:
        return f'{LIBRARY} was built from the sources of another version of dn_mmdet'
    return ''


def layer(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    batches: Tensor | None,
    weights: SCWeights,
    training: bool,
    momentum: float,
    eps: float,
    form: SCForm,
    detach_gap: bool,
    bounds: tuple[float, float] | None,
) -> Tensor:
    """The whole layer in one call, with its derivative and the running statistics.

    Args:
        x (Tensor): Shape (N, C, H, W), of ``DTYPES``.
        running_mean (Tensor, optional): Shape (C,); updated in place in training.
        running_var (Tensor, optional): Shape (C,); updated in place in training.
        batches (Tensor, optional): Number of batches, shape (); counted in training, where there
            are running statistics.
        weights (SCWeights): Of float32.
        training (bool): Take the statistics of the batch.
        momentum (float): Weight of the batch in the running statistics.
        eps (float): Added to the variance.
        form (SCForm): How the weights enter.
        detach_gap (bool): Whether no gradient passes the input of the SC-Module.
        bounds (tuple[float, float], optional): Of the activation.

    Returns:
        Tensor: Like ``x``.

    Raises:
        TypeError: The operator does not take such numbers; nothing was written.
        ValueError: Sizes do not go together; nothing was written.
    """
    if is_compiling() or not is_recomputing():
        return _operators.dynamic_batch_norm(
            x, running_mean, running_var, batches, *weights, training, momentum, eps, *form,
            detach_gap, bounds,
        )  # fmt: skip
    y, scale, shift = _operators.recomputable_batch_norm(
        x, running_mean, running_var, batches, *weights, training, momentum, eps, *form,
        detach_gap, bounds,
    )  # fmt: skip
    if y.requires_grad:
        offer_recomputation(y, x, partial(_map_again, scale, shift, bounds))
    return y


def layer_forward(
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weights: SCWeights,
    eps: float,
    form: SCForm,
    bounds: tuple[float, float] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The forward of :func:`layer`: output, statistics and what :func:`layer_backward` wants.

    The statistics are those given or, of the batch, the mean and the unbiased variance.

    Args:
        x (Tensor): As there, and so are all that are not named here.
        mean (Tensor, optional): Shape (C,); None for that of the batch.
        var (Tensor, optional): Biased, shape (C,).
    """
    return _operators.layer_forward(x, *weights, mean, var, eps, *form, bounds)


def layer_backward(
    dy: Tensor,
    x: Tensor,
    kept: Tensor,
    weights: SCWeights,
    training: bool,
    form: SCForm,
    detach_gap: bool,
    bounds: tuple[float, float] | None,
) -> tuple[Tensor, ...]:
    """Gradients of x and of the weights, in their order."""
    return _operators.layer_backward(
        dy, x, kept, weights.fc1_weight, weights.fc2_weight, training, *form, detach_gap, bounds,
        True,
    )  # fmt: skip


def plane_means(x: Tensor) -> Tensor:
    """See Kernels."""
    return _operators.plane_means(x)


def plane_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See Kernels."""
    return _operators.plane_moments(x)


def plane_affine(
    x: Tensor, scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None = None
) -> Tensor:
    """See Kernels."""
    return _operators.plane_affine(x, scale, shift, bounds)


def plane_products(
    dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """See Kernels."""
    if gate is None:
        return _operators.plane_products(dy, x, mean)
    return _operators.plane_products(dy, x, mean, gate.scale, gate.shift, gate.bounds)


def plane_gradient(
    dy: Tensor,
    x: Tensor,
    scale: Tensor,
    slope: Tensor | None,
    offset: Tensor,
    gate: Gate | None = None,
) -> Tensor:
    """See Kernels."""
    if slope is None:
        return _operators.plane_affine(dy, scale, offset)
    if gate is None:
        return _operators.plane_gradient(dy, x, scale, slope, offset)
    return _operators.plane_gradient(dy, x, scale, slope, offset, gate.shift, gate.bounds)


def sc_forward(
    means: Tensor, mean: Tensor, var: Tensor, weights: SCWeights, eps: float, form: SCForm
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See Kernels."""
    return _operators.sc_forward(means, mean, var, *weights, eps, *form)


def sc_backward(
    sums: Tensor,
    products: Tensor,
    means: Tensor,
    mean: Tensor,
    rstd: Tensor,
    hidden: Tensor,
    scale: Tensor,
    fc1_weight: Tensor,
    fc2_weight: Tensor,
    places: int,
    count: float,
    form: SCForm,
    detach_gap: bool,
) -> SCGradients:
    """See Kernels."""
    return SCGradients._make(
        _operators.sc_backward(
            sums, products, means, mean, rstd, hidden, scale, fc1_weight, fc2_weight,
            places, count, *form, detach_gap,
        )
    )  # fmt: skip


def evaluate(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weights: SCWeights,
    eps: float,
    form: SCForm,
    bounds: tuple[float, float] | None,
) -> Tensor:
    """The layer with frozen statistics, sample by sample while it is in the cache."""
    return _operators.evaluate(x, mean, var, *weights, eps, *form, bounds)


def _map_again(
    scale: Tensor, shift: Tensor, bounds: tuple[float, float] | None, x: Tensor
) -> Tensor:
    with torch.no_grad():
        return plane_affine(to_dense(x), scale, shift, bounds)


def _interface() -> int:
    """The number that the library has; the first had none."""
    return _operators.interface() if hasattr(_operators, 'interface') else 1


def _version(text: str) -> str:
    """The numbers alone, which is what the library knows of the torch it was built for."""
    return '.'.join(re.findall(r'\d+', text)[:3])
