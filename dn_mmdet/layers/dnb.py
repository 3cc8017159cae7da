"""DN-B: batch normalization with scale and shift made per sample and channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..ops.activation import ACTIVATIONS, bounds_of
from ..ops.arguments import check_arguments, check_device
from ..ops.backends import cpp
from ..ops.dispatch import compiles_to_cpp, eager_path, runs_eagerly
from ..ops.functional import run_unchecked
from ..ops.precision import cast, without_autocast
from ..ops.sc import SC_INPUTS, SCForm, SCWeights
from ..ops.torch_versions import is_compiling
from .activated import mark_activated
from .dynamic_batch_norm import DynamicBatchNorm
from .dynamic_norm import Affine
from .inner_bn import count_batch, is_known, running_statistics, sharing_group_of
from .sc_module import GAIN, PARAMETERIZATION, SCModule
from .validation import check_choice, check_flag

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ['SC_INPUT', 'DNB']

# What the SC-Module sees unless it is said.
SC_INPUT = 'normalized'


class DNB(DynamicBatchNorm):
    """Dynamic Normalization, batch- and channel-wise (DN-B; equations 6 and 7 of the paper).

    ``Y = (X - E[X]) / sqrt(Var[X] + eps) * alpha + lambda`` over (N, C, H, W), where alpha and
    lambda, of shape (N, C), are ``alpha_offset`` and ``lambda_offset`` plus the SC-Module's outputs
    ``split(k W2 sigmoid(s W1 c + b1))``. c is made of the spatial mean g of X. There is no trained
    gamma or beta. At start the layer equals ``nn.BatchNorm2d(affine=False)``.

    In the paper c = g and the factors s and k are 1; that is ``sc_input='raw'``. One step of
    gradient descent then moves the logit of a hidden unit by ``|c|^2``, a sum over C raw
    activations, times what a weight of its own would move, and the units of a wide layer swing
    together. Here ``c = (g - E[X]) / sqrt(Var[X] + eps)`` unless that is asked for, so that the
    rate does not depend on the scale of X. ``parameterization='conditioned'`` takes s = 1 / sqrt(C)
    besides, with ``s W1`` starting as before, and it depends on the width no longer; ``gain`` does
    the same for the second layer. None costs a parameter, a multiply-add or a pass over X, and the
    factors leave what the layer can compute as it is. See :class:`SCModule` and docs/method.md.

    Statistics and SC-Module are computed in float32 (float64 for a float64 layer) also under
    autocast; the output has dtype and memory format of the input.

    Args:
        num_features (int): Number of channels C.
        eps (float): Added to the variance inside the root. Defaults to 1e-5.
        momentum (float, optional): Weight of the batch in the running statistics; None averages
            over all batches. Defaults to 0.1.
        r (int): Reduction ratio of the SC-Module. Defaults to 16.
        g (int | str): Channels of each group of its second layer, or 'oup' for a dense layer.
            Defaults to 1.
        start (str): 'identity', or 'paper' for the literal form of the paper, in which offsets
            are 0 and the SC-Module starts at random (deep networks do not train from there; kept
            for ablation). Defaults to 'identity'.
        track_running_stats (bool): As in ``nn.BatchNorm2d``. Defaults to True.
        requires_grad (bool): Whether the SC-Module is trained. Defaults to True.
        sc_input (str, optional): c, which the SC-Module sees: 'normalized' for
            ``(g - E[X]) / sqrt(Var[X] + eps)``, or 'raw' for the spatial mean g of X, as in the
            paper. Defaults to None: 'normalized', or what loaded weights say they were trained
            with; those of version 0.1.0 do not say it, and its default was 'raw'.
        detach_gap (bool): Let no gradient pass through the input of the SC-Module.
            Defaults to False.
        activation (str, optional): 'ReLU' or 'ReLU6' of the output, in the same pass.
            Defaults to None.
        parameterization (str): 'paper' for s = 1, or 'conditioned' for s = 1 / sqrt(C), W1 of
            order one and b1 = 0 at start. Defaults to 'paper'.
        gain (float | str): k: a number, 'bn' for 2 / sqrt(inputs of a group of W2), with which
            what all samples share of alpha and lambda moves as BatchNorm's gamma and beta do, or
            'sqrt_bn' for the square root of that. Defaults to 1.0, as in the paper.
        sync (bool): In training, take the statistics of the batches of all processes together,
            as ``nn.SyncBatchNorm`` does, on a CPU (gloo) too; alpha and lambda are always
            each sample's own. Batches may differ in size or be empty. With one process, or in
            evaluation, nothing is exchanged. ``nn.SyncBatchNorm.convert_sync_batchnorm`` and
            mmengine's ``sync_bn`` turn it on. Defaults to False.
        process_group (ProcessGroup, optional): The processes to share with, instead of all.
            As in ``nn.SyncBatchNorm``, a layer that holds one cannot be copied or pickled whole.
        device (torch.device, optional): Where parameters and buffers are made.
        dtype (torch.dtype, optional): Their dtype.

    Raises:
        TypeError: An argument is not of the type above.
        ValueError: An argument is out of range.
    """

    _kind = 'DNB'
    # Set by fold_activations where an activation of the model's own remains behind the layer.
    marks_output = False
    # Layers pickled by earlier versions do not know.
    sc_input_given = True

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        r: int = 16,
        g: int | str = 1,
        start: str = 'identity',
        track_running_stats: bool = True,
        requires_grad: bool = True,
        sc_input: str | None = None,
        detach_gap: bool = False,
        activation: str | None = None,
        parameterization: str = PARAMETERIZATION,
        gain: float | str = GAIN,
        sync: bool = False,
        process_group: ProcessGroup | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__(
            num_features,
            eps=eps,
            momentum=momentum,
            r=r,
            g=g,
            start=start,
            track_running_stats=track_running_stats,
            requires_grad=requires_grad,
            parameterization=parameterization,
            gain=gain,
            sync=sync,
            process_group=process_group,
            device=device,
            dtype=dtype,
        )
        self.sc_input_given = sc_input is not None
        self.sc_input = check_choice(
            'sc_input', sc_input if self.sc_input_given else SC_INPUT, SC_INPUTS
        )
        self.detach_gap = check_flag('detach_gap', detach_gap)
        bounds_of(activation)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a batch.

        Args:
            x (Tensor): Shape (N, C, H, W), any floating-point dtype up to the layer's.

        Returns:
            Tensor: Same shape, dtype and memory format.

        Raises:
            TypeError: ``x`` is of another dtype or not a tensor.
            ValueError: ``x`` is not 4-D, does not have ``num_features`` channels, or has one
                value per channel (counted over all processes that share statistics) when batch
                statistics are needed.
        """
        if self._uses_operator(x):
            y = self._operate(x)
        else:
            self._check_input(x)
            y = self._compose(x, self.sc, self.sc_input, self.detach_gap, self.activation)
        return mark_activated(y, self.activation) if self.marks_output else y

    def affine(self, x: Tensor) -> Affine:
        """Scale and shift that :meth:`forward` gives a batch (the paper's Figure 5).

        Args:
            x (Tensor): As for :meth:`forward`. With ``sc_input='normalized'`` and shared
                statistics in training, all processes must make the call.

        Returns:
            Affine: alpha and shift of shape (N, C), hidden units (N, H); no statistics change.
        """
        self._check_input(x)
        with without_autocast(x):
            work = cast(x, self._compute_dtype)
            context = work.mean((2, 3))
            if self.sc_input == 'normalized':
                mean, var = self._mean_and_var(work)
                context = (context - mean) * torch.rsqrt(var + self.bn.eps)
            return self._affine_of(context)

    def _uses_operator(self, x: Tensor) -> bool:
        # A foreign BatchNorm normalizes otherwise, hooks and tracers look at the members.
        bn, sc = self._modules['bn'], self._modules['sc']
        if (
            not is_known(bn)
            or (bn._forward_hooks or bn._forward_pre_hooks)
            or (bn._backward_hooks or bn._backward_pre_hooks)
            or (sc._forward_hooks or sc._forward_pre_hooks)
            or (sc._backward_hooks or sc._backward_pre_hooks)
        ):
            return False
        if runs_eagerly(x):
            return True
        alone = bn.momentum is not None and sharing_group_of(bn) is None
        return alone and compiles_to_cpp(x)

    def _operate(self, x: Tensor) -> Tensor:
        # Microseconds count here, and an attribute that is a parameter or a buffer costs one.
        bn, sc = self._modules['bn'], self._modules['sc']
        weights = _weights_of(self, sc)
        form = self.sc_input == 'normalized', sc.fc1_scale, sc.fc2_scale
        running_mean, running_var = running_statistics(bn)
        training = bn.training or running_mean is None
        group = sharing_group_of(bn)
        if is_compiling():  # What the operator refuses there, nobody can catch.
            self._check_input(x)
            given = (*weights, running_mean, running_var)
            path, fits = 'cpp', all(t is None or t.dtype == torch.float32 for t in given)
        else:
            path, fits = eager_path(x, group is not None), True
        if path == 'cpp' and fits and group is None and bn.momentum is not None:
            try:
                return cpp.layer(
                    x, running_mean, running_var, bn._buffers['num_batches_tracked'], weights,
                    training, bn.momentum, bn.eps, form, self.detach_gap,
                    ACTIVATIONS.get(self.activation),
                )  # fmt: skip
            except (TypeError, ValueError, RuntimeError) as error:
                # The input is wrong, or parts of the layer have other dtypes.
                self._check_input(x)
                check_arguments(
                    x, running_mean, running_var, SCWeights._make(weights), training, bn.eps,
                    self.sc_input,
                )  # fmt: skip
                if isinstance(error, RuntimeError):
                    raise
        self._check_input(x)
        check_device(x, 'alpha_offset', self.alpha_offset)
        return run_unchecked(
            x, running_mean, running_var, SCWeights._make(weights), training, count_batch(bn),
            bn.eps, SCForm._make(form), self.detach_gap, self.activation, group, path,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        activation = f', activation={self.activation!r}' if self.activation else ''
        return (
            f'{super().extra_repr()}, sc_input={self.sc_input!r}, detach_gap={self.detach_gap}'
            f'{activation}'
        )


def _weights_of(layer: DNB, sc: SCModule) -> tuple[Tensor, ...]:
    """Those of :class:`SCWeights`."""
    inner, outer = sc._parameters, layer._buffers
    try:
        return (
            inner['fc1_weight'],
            inner['fc1_bias'],
            inner['fc2_weight'],
            outer['alpha_offset'],
            outer['lambda_offset'],
        )
    except KeyError:  # They are made of others, as parametrizations and shards are.
        return sc.fc1_weight, sc.fc1_bias, sc.fc2_weight, layer.alpha_offset, layer.lambda_offset
