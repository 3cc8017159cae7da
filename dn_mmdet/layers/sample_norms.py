"""DN-GN, DN-LN and DN-IN: the paper's scale and shift over the norms of single samples.

Its section 5, on future work, names Group Norm (Wu & He, 2018), Layer Norm (Ba et al., 2016) and
Instance Norm (Ulyanov et al., 2016), and says no more of them; docs/layers.md has what was decided.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.activation import bounds_of
from ..ops.precision import cast, without_autocast
from ..ops.sc import SC_INPUTS
from .dynamic_norm import Affine, DynamicNorm
from .sc_module import GAIN, PARAMETERIZATION
from .validation import check_choice, check_eps, check_flag, check_input, check_positive_int

__all__ = ['DNGN', 'DNIN', 'DNLN']

# Parameterization to what the SC-Module then sees.
DEFAULT_SC_INPUTS = {'paper': 'raw', 'conditioned': 'normalized'}


class SampleNorm(DynamicNorm):
    """Base of the dynamic norms that take their statistics from groups of channels of a sample.

    With ``num_groups`` groups S of C / num_groups channels, and E_S and Var_S over the channels
    and places of a group in one sample:

        Y = (X - E_S[X]) / sqrt(Var_S[X] + eps) * alpha + lambda
        alpha, lambda = offsets + split(k W2 sigmoid(s W1 c + b1))

    over (N, C, H, W). alpha and lambda, (N, C), and all options are those of :class:`DNB`, except
    that c comes from one sample alone. g being the spatial mean of X, (N, C), c is g, by default,
    or, with ``sc_input='normalized'``, g normalized over the C channels of its sample:

        c = (g - E_C[g]) / sqrt(Var_C[g] + eps)

    It is not the mean of the normalized map, as in :class:`DNB`, since that is 0 in every channel
    for DN-IN, as it is for DN-GN where a group is one channel: the SC-Module would see nothing.
    This c has a mean square of 1 over the channels, in every sample, so ``s^2 |c|^2 = 1`` with
    s = 1 / sqrt(C), as the conditioned form wants it. It does not depend on the scale of a sample
    or on what is added to all of it; how the channels differ in level, which DN-IN and DN-GN take
    out of the map, it tells the SC-Module.

    There are no running statistics: training and evaluation compute the same, and no sample
    depends on another. Statistics and SC-Module are computed in float32 (float64 for a float64
    layer) also under autocast; the output has the dtype of the input.
    """

    num_groups: int

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        requires_grad: bool = True,
        sc_input: str | None = None,
        detach_gap: bool = False,
        activation: str | None = None,
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            num_features,
            r=r,
            g=g,
            start=start,
            requires_grad=requires_grad,
            parameterization=parameterization,
            gain=gain,
            device=device,
            dtype=dtype,
        )
        self.eps = check_eps(eps)
        if sc_input is None:
            sc_input = DEFAULT_SC_INPUTS[parameterization]
        self.sc_input = check_choice('sc_input', sc_input, SC_INPUTS)
        self.detach_gap = check_flag('detach_gap', detach_gap)
        bounds_of(activation)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Normalize each sample.

        Args:
            x (Tensor): Shape (N, C, H, W), any floating-point dtype up to the layer's.

        Returns:
            Tensor: Same shape and dtype.

        Raises:
            TypeError: ``x`` is of another dtype or not a tensor.
            ValueError: ``x`` is not 4-D, does not have ``num_features`` channels, or has one
                value per sample and group, which would leave nothing of it.
        """
        self._check_input(x)
        return self._compose(x, self._sc_of_means, 'raw', self.detach_gap, self.activation)

    def affine(self, x: Tensor) -> Affine:
        """Scale and shift that :meth:`forward` gives each sample, as :meth:`DNB.affine`."""
        self._check_input(x)
        with without_autocast(x):
            return self._affine_of(self._context(cast(x, self._compute_dtype).mean((2, 3))))

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        activation = f', activation={self.activation!r}' if self.activation else ''
        return (
            f'{super().extra_repr()}, num_groups={self.num_groups}, eps={self.eps}, '
            f'sc_input={self.sc_input!r}, detach_gap={self.detach_gap}{activation}'
        )

    def _check_input(self, x: Tensor) -> None:
        check_input(x, self.num_features, self.alpha_offset.dtype, num_groups=self.num_groups)

    def _normalize(self, x: Tensor) -> Tensor:
        # The one of torch.nn.functional checks sizes again, as numbers in a trace.
        return torch.group_norm(x, self.num_groups, eps=self.eps)

    def _sc_of_means(self, means: Tensor) -> tuple[Tensor, Tensor]:
        return self.sc(self._context(means))

    def _context(self, means: Tensor) -> Tensor:
        if self.sc_input == 'raw':
            return means
        return F.layer_norm(means, (self.num_features,), eps=self.eps)


class DNGN(SampleNorm):
    """Dynamic Normalization over Group Norm (DN-GN; section 5 of the paper).

    ``Y = GN(X) * alpha + lambda``, where alpha and lambda are made for each sample and channel as
    in :class:`DNB`. At start the layer equals ``nn.GroupNorm(affine=False)``; a state dict of a
    GroupNorm of as many groups loads, and the layer then computes what that did. The mathematics
    are with ``SampleNorm``.

    Args:
        num_features (int): Number of channels C.
        num_groups (int): Groups of channels; divides C. Defaults to 32.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        r (int): Reduction ratio of the SC-Module. Defaults to 16.
        g (int | str): As in :class:`DNB`. Defaults to 1.
        start (str): As in :class:`DNB`. Defaults to 'identity'.
        requires_grad (bool): Whether the SC-Module is trained. Defaults to True.
        sc_input (str, optional): c, which the SC-Module sees: 'raw' for the spatial mean g of X,
            'normalized' for g normalized over the channels of its sample. Defaults to 'raw' in
            the paper's parameterization and to 'normalized' in the conditioned one.
        detach_gap (bool): As in :class:`DNB`. Defaults to False.
        activation (str, optional): 'ReLU' or 'ReLU6' of the output. Defaults to None.
        parameterization (str): As in :class:`DNB`. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _kind, _abbr_ = 'DNGN', 'gn'

    def __init__(
        self,
        num_features: int,
        num_groups: int = 32,
        eps: float = 1e-5,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        requires_grad: bool = True,
        sc_input: str | None = None,
        detach_gap: bool = False,
        activation: str | None = None,
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            num_features,
            eps=eps,
            r=r,
            g=g,
            start=start,
            requires_grad=requires_grad,
            sc_input=sc_input,
            detach_gap=detach_gap,
            activation=activation,
            parameterization=parameterization,
            gain=gain,
            device=device,
            dtype=dtype,
        )
        self.num_groups = check_positive_int('num_groups', num_groups)
        if num_features % num_groups:
            raise ValueError(
                f'num_groups must divide num_features={num_features}, got {num_groups}'
            )


class DNLN(SampleNorm):
    """Dynamic Normalization over Layer Norm (DN-LN; section 5 of the paper).

    As :class:`DNGN` with one group: the statistics of a sample are over (C, H, W), as the paper on
    Group Norm draws Layer Norm for maps. At start the layer equals
    ``nn.LayerNorm((C, H, W), elementwise_affine=False)``; a state dict of ``nn.GroupNorm(1, C)``
    loads. It is not the norm over C at each place that ``nn.LayerNorm(C)`` is for tokens and
    ``LN2d`` for maps, whose weights have the same names and shapes.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        r (int): Reduction ratio of the SC-Module. Defaults to 16.
        g (int | str): As in :class:`DNB`. Defaults to 1.
        start (str): As in :class:`DNB`. Defaults to 'identity'.
        requires_grad (bool): Whether the SC-Module is trained. Defaults to True.
        sc_input (str, optional): As in :class:`DNGN`.
        detach_gap (bool): As in :class:`DNB`. Defaults to False.
        activation (str, optional): 'ReLU' or 'ReLU6' of the output. Defaults to None.
        parameterization (str): As in :class:`DNB`. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _kind, _abbr_ = 'DNLN', 'ln'
    num_groups = 1


class DNIN(SampleNorm):
    """Dynamic Normalization over Instance Norm (DN-IN; section 5 of the paper).

    As :class:`DNGN` with a group for each channel: the statistics of a sample are over (H, W). At
    start the layer equals ``nn.InstanceNorm2d(C)``; a state dict of one with an affine loads. A
    1x1 map, of which the norm would leave nothing, is refused, as by ``nn.InstanceNorm2d``.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        r (int): Reduction ratio of the SC-Module. Defaults to 16.
        g (int | str): As in :class:`DNB`. Defaults to 1.
        start (str): As in :class:`DNB`. Defaults to 'identity'.
        requires_grad (bool): Whether the SC-Module is trained. Defaults to True.
        sc_input (str, optional): As in :class:`DNGN`.
        detach_gap (bool): As in :class:`DNB`. Defaults to False.
        activation (str, optional): 'ReLU' or 'ReLU6' of the output. Defaults to None.
        parameterization (str): As in :class:`DNB`. Defaults to 'paper'.
        gain (float | str): As in :class:`DNB`. Defaults to 1.0.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _kind, _abbr_ = 'DNIN', 'in'

    @property
    def num_groups(self) -> int:
        """A group for each channel."""
        return self.num_features
