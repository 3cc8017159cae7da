"""What a backend offers to the closed form of dynamic batch normalization.

Maps are (N, C, H, W), contiguous or channels_last, and results of their size have their layout.
Numbers per sample and channel are (N, C), those per channel (C,); all of one call are of one
dtype, float32 or, with ``aten``, float64. But for running statistics, nothing that is passed is
written to.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..activation import Gate
from ..sc import SCForm, SCGradients, SCWeights

__all__ = ['DTYPES', 'SELFTEST', 'Kernels', 'RunningStatistics', 'leave', 'widen']

# Of the maps that kernels with a widen of their own, which is `leave`, read and write.
DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# What shows a person, and whom they ask, what is wrong with kernels.
SELFTEST = 'python -m dn_mmdet.ops.selftest'


class RunningStatistics(NamedTuple):
    """What a batch moves toward its own statistics.

    Attributes:
        mean (Tensor): Shape (C,), contiguous.
        var (Tensor): Unbiased, shape (C,), contiguous.
        momentum (float): Weight of the batch.
    """

    mean: Tensor
    var: Tensor
    momentum: float


class Kernels(Protocol):
    """A module of kernels: sums and affine maps, and the SC-Module between them.

    Attributes:
        EVALUATES (bool): Whether :meth:`evaluate` does the whole layer at once, where no gradient
            is asked for.
        FUSES (bool): Whether :meth:`fused_forward` and :meth:`fused_gradients` do at once, in one
            process, what lies before :meth:`plane_gradient`.
        GATES_FROM_OUTPUT (bool): Whether an activation behind these kernels is a map of its own
            in the backward too, which :meth:`gated` makes; if not, ``gate`` is None or tells
            the backward's two passes where the activation is open.
    """

    EVALUATES: bool
    FUSES: bool
    GATES_FROM_OUTPUT: bool

    def widen(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """A map as the other kernels want it.

        Args:
            x (Tensor): Shape (N, C, H, W).
            dtype (torch.dtype): Of the numbers that go with it.

        Returns:
            Tensor: ``x`` in ``dtype``, or as it is where the kernels read half precision.
        """

    def plane_means(self, x: Tensor) -> Tensor:
        """Means over H and W.

        Args:
            x (Tensor): Shape (N, C, H, W).

        Returns:
            Tensor: Shape (N, C).
        """

    def plane_moments(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and variances; float32 must not lose the variance where the mean is large.

        Args:
            x (Tensor): Shape (N, C, H, W).

        Returns:
            tuple[Tensor, Tensor, Tensor]: Means over H and W, (N, C); mean and biased variance
            over N, H and W, both (C,).
        """

    def plane_affine(
        self,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        bounds: tuple[float, float] | None = None,
    ) -> Tensor:
        """``x * scale + shift``, clamped.

        Args:
            x (Tensor): Shape (N, C, H, W).
            scale (Tensor): Shape (N, C).
            shift (Tensor): Shape (N, C).
            bounds (tuple[float, float], optional): NaN stays NaN. Defaults to None, no clamp.

        Returns:
            Tensor: Like ``x``, and no view.
        """

    def gated(self, dy: Tensor, y: Tensor, bounds: tuple[float, float]) -> Tensor:
        """``dy`` where an activation let ``y`` pass; only where ``GATES_FROM_OUTPUT``.

        Args:
            dy (Tensor): Shape (N, C, H, W).
            y (Tensor): Output of :meth:`plane_affine`, same shape.
            bounds (tuple[float, float]): What it was clamped to.

        Returns:
            Tensor: Like ``dy``, and 0 where ``y`` lies on or outside of the bounds. In half
            precision ``y`` is rounded already, as behind a norm and an activation of PyTorch: a
            few numbers just inside of a bound are 0 here and pass where ``y`` is made again.
        """

    def plane_products(
        self, dy: Tensor, x: Tensor, mean: Tensor, gate: Gate | None = None
    ) -> tuple[Tensor, Tensor]:
        """``sum dy`` and ``sum dy (x - mean)`` over H and W.

        Args:
            dy (Tensor): Shape (N, C, H, W), in the layout of ``x``.
            x (Tensor): Shape (N, C, H, W).
            mean (Tensor): Shape (C,).
            gate (Gate, optional): Where dy counts. Defaults to None, everywhere.

        Returns:
            tuple[Tensor, Tensor]: Each of shape (N, C).
        """

    def plane_gradient(
        self,
        dy: Tensor,
        x: Tensor,
        scale: Tensor,
        slope: Tensor | None,
        offset: Tensor,
        gate: Gate | None = None,
    ) -> Tensor:
        """``dy * scale + x * slope + offset``.

        Args:
            dy (Tensor): Shape (N, C, H, W), in the layout of ``x``.
            x (Tensor): Shape (N, C, H, W).
            scale (Tensor): Shape (N, C).
            slope (Tensor, optional): Shape (C,). None for 0; then there is no gate either.
            offset (Tensor): Shape (N, C).
            gate (Gate, optional): Where dy counts; its scale is ``scale``. Defaults to None,
                everywhere.

        Returns:
            Tensor: Like ``x``.
        """

    def sc_forward(
        self,
        means: Tensor,
        mean: Tensor,
        var: Tensor,
        weights: SCWeights,
        eps: float,
        form: SCForm,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See :func:`dn_mmdet.ops.sc.sc_forward`."""

    def sc_backward(
        self,
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
        """See :func:`dn_mmdet.ops.sc.sc_backward`; of one process."""

    def evaluate(
        self,
        x: Tensor,
        mean: Tensor,
        var: Tensor,
        weights: SCWeights,
        eps: float,
        form: SCForm,
        bounds: tuple[float, float] | None,
    ) -> Tensor:
        """The layer with frozen statistics; only where ``EVALUATES``.

        Args:
            x (Tensor): Shape (N, C, H, W).
            mean (Tensor): Shape (C,).
            var (Tensor): Shape (C,).
            weights (SCWeights): Of the SC-Module.
            eps (float): Added to the variance.
            form (SCForm): How the weights enter.
            bounds (tuple[float, float], optional): Of the activation.

        Returns:
            Tensor: Like ``x``.
        """

    def fused_forward(
        self,
        x: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        weights: SCWeights,
        eps: float,
        form: SCForm,
        bounds: tuple[float, float] | None,
        running: RunningStatistics | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The layer forward, and all that its backward wants; only where ``FUSES``.

        Args:
            x (Tensor): Shape (N, C, H, W).
            mean (Tensor, optional): Shape (C,), where statistics are frozen. None for the batch's.
            var (Tensor, optional): Shape (C,), biased, likewise.
            weights (SCWeights): Of the SC-Module.
            eps (float): Added to the variance.
            form (SCForm): How the weights enter.
            bounds (tuple[float, float], optional): Of the activation.
            running (RunningStatistics, optional): Moved in place; None where there are none, and
                where statistics are frozen.

        Returns:
            tuple[Tensor, ...]: The output; means over H and W; mean and biased variance; and what
            :meth:`sc_forward` returns. :meth:`plane_affine` makes the same bits of the output.
        """

    def fused_gradients(
        self,
        dy: Tensor,
        x: Tensor,
        means: Tensor,
        mean: Tensor,
        rstd: Tensor,
        hidden: Tensor,
        scale: Tensor,
        fc1_weight: Tensor,
        fc2_weight: Tensor,
        count: float,
        form: SCForm,
        detach_gap: bool,
        gate: Gate | None,
    ) -> SCGradients:
        """:meth:`plane_products`, and :meth:`sc_backward` of them; only where ``FUSES``."""


def widen(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` in a dtype: :meth:`Kernels.widen` of kernels that ask for one dtype."""
    return x.to(dtype)


def leave(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` as it is: :meth:`Kernels.widen` of kernels that read half precision themselves."""
    return x
