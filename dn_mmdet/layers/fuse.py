"""Folding DN-B into the convolution in front of it, for inference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ..ops.activation import activate
from ..ops.precision import cast, without_autocast
from .activated import mark_activated
from .dnb import DNB
from .inner_bn import is_known

__all__ = ['FusedConvDNB', 'fuse_conv_dnb']


def fuse_conv_dnb(model: nn.Module, example: Tensor | None = None) -> int:
    """Fold every DN-B into the convolution in front of it; the output stays the same.

    What is static of DN-B, the running statistics, goes into weight and bias of the convolution,
    and the offsets become the bias of the second layer of the SC-Module. What is left is an SE
    layer with a shift. The model is then for inference alone: it has no statistics of a batch,
    and other keys in its state dict.

    As with ``mmengine.model.fuse_conv_bn``, a convolution and a DN-B belong together where the one
    follows the other directly among the children of a module. Left alone are DN-Bs in training,
    without running statistics, with hooks, or behind anything but an ``nn.Conv2d``; DN-C,
    whose scale depends on the batch; and the norms of single samples, which have no statistics.
    What else uses the output or the weights of such a convolution, as a shortcut around its norm,
    would get others: it must not be folded, and with an example this is noticed.

    Args:
        model (nn.Module): In evaluation; changed in place.
        example (Tensor, optional): An input that the model is run on, before and after. Only
            pairs in which the DN-B then gets what the convolution returned are folded, and a
            pointwise convolution whose map has more places than it has input channels gets
            weights per sample: a convolution and the mean over its map commute, so scale and
            shift are known before it runs, and go into its weights with no pass over the map.
            Defaults to None: nothing is verified, and no convolution gets weights per sample.

    Returns:
        int: Number of DN-Bs folded.

    Raises:
        TypeError: ``model`` is not a module.
        ValueError: ``model`` is in training, or the folded model does not compute what the model
            does for the example; nothing has been changed then.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f'model must be a torch.nn.Module, got {type(model).__name__}')
    if model.training:
        raise ValueError('model must be in evaluation: call model.eval() first')
    pairs = [pair for module in model.modules() for pair in _pairs(module)]
    sizes, expected = (None, None) if example is None else _map_sizes(model, example, pairs)
    made, folded = {}, []
    for parent, conv_name, conv, norm_name, norm in pairs:
        key = conv, norm
        if sizes is not None and key not in sizes:
            continue
        if key not in made:
            places = 0 if sizes is None else sizes[key]
            made[key] = FusedConvDNB(conv, norm, per_sample=places >= conv.in_channels)
        parent._modules[conv_name] = made[key]
        parent._modules[norm_name] = nn.Identity()
        folded.append((parent, conv_name, conv, norm_name, norm))
    if example is not None:
        reason = _what_differs(model, example, expected)
        if reason:
            for parent, conv_name, conv, norm_name, norm in folded:
                parent._modules.update({conv_name: conv, norm_name: norm})
            raise ValueError(
                f'model cannot be folded, and is as it was: {reason}. Is the output of a '
                'convolution, or its weight, used elsewhere than by the norm behind it?'
            )
    return len(made)


class FusedConvDNB(nn.Module):
    """A convolution with a DN-B behind it, in evaluation.

    Args:
        conv (nn.Conv2d): The convolution.
        norm (DNB): With running statistics.
        per_sample (bool): Give a pointwise convolution of stride 1 weights for each sample; it
            concerns no other. Defaults to False.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: (N, out_channels, H', W').
    """

    @torch.no_grad()
    def __init__(self, conv: nn.Conv2d, norm: DNB, per_sample: bool = False):
        super().__init__()
        self.per_sample = per_sample and _is_pointwise(conv)
        self.activation, self.marks_output = norm.activation, norm.marks_output
        self.groups = norm.sc.groups
        dtype, double = norm._compute_dtype, torch.float64
        rstd = (norm.bn.running_var.to(double) + norm.bn.eps).rsqrt()
        mean = norm.bn.running_mean.to(double)
        bias = 0.0 if conv.bias is None else conv.bias.to(double)
        weight = conv.weight.to(double) * rstd[:, None, None, None]
        bias = (bias - mean) * rstd
        # s W1 c + b1 with c made of the mean over the normalized map.
        fc1_weight = norm.sc.fc1_weight.to(double) * norm.sc.fc1_scale
        fc1_bias = norm.sc.fc1_bias.to(double)
        if norm.sc_input == 'raw':
            fc1_bias = fc1_bias + fc1_weight @ mean
            fc1_weight = fc1_weight / rstd
        if self.per_sample:
            # And that of the mean over the map in front of the convolution.
            fc1_bias = fc1_bias + fc1_weight @ bias
            fc1_weight = fc1_weight @ weight.flatten(1)
        fc2_bias = torch.cat((norm.alpha_offset, norm.lambda_offset))
        self.conv = deepcopy(conv).requires_grad_(False)
        self.conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
        self.conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)
        self.register_buffer('fc1_weight', fc1_weight.to(dtype))
        self.register_buffer('fc1_bias', fc1_bias.to(dtype))
        self.register_buffer('fc2_weight', (norm.sc.fc2_weight * norm.sc.fc2_scale).to(dtype))
        self.register_buffer('fc2_bias', fc2_bias.to(dtype))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalize, scale and shift, activate."""
        y = x if self.per_sample else self.conv(x)
        alpha, shift = self._affine(y)
        # A runtime for graphs fuses the activation into a convolution, which can have weights of
        # one sample; to PyTorch's own convolutions new weights are dear.
        as_conv = torch.onnx.is_in_onnx_export() and x.shape[0] == 1
        if self.per_sample:
            shift = alpha * self.conv.bias + shift
        if as_conv and self.per_sample:
            y = F.conv2d(x, alpha.reshape(-1, 1, 1, 1) * self.conv.weight, shift.reshape(-1))
        elif as_conv:
            weight = alpha.reshape(-1, 1, 1, 1)
            y = F.conv2d(y, weight, shift.reshape(-1), groups=len(self.conv.bias))
        elif self.per_sample:
            weight = alpha[..., None] * self.conv.weight.flatten(1)
            y = torch.baddbmm(shift[..., None], weight, x.flatten(2))
            # The number of channels as a number: exporters ask for it in front of a norm.
            y = y.reshape(x.shape[0], len(self.conv.bias), *x.shape[2:])
        else:
            y = torch.addcmul(shift[..., None, None], y, alpha[..., None, None])
        y = activate(y, self.activation, inplace=True)
        return mark_activated(y, self.activation) if self.marks_output else y

    def extra_repr(self) -> str:
        """Arguments that the members do not show."""
        return f'per_sample={self.per_sample}, activation={self.activation!r}'

    def _affine(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Alpha and lambda, each (N, C), from a map."""
        with without_autocast(x):
            context = cast(x, self.fc1_weight.dtype).mean((2, 3))
            hidden = F.linear(context, self.fc1_weight, self.fc1_bias).sigmoid()
            if self.groups == 1:
                # Halves of constants are constants, halves of a product nodes of a graph.
                halves = zip(self.fc2_weight.chunk(2), self.fc2_bias.chunk(2))
                alpha, shift = (F.linear(hidden, weight, bias) for weight, bias in halves)
            else:
                weight = self.fc2_weight[:, :, None]
                both = F.conv1d(hidden[..., None], weight, self.fc2_bias, groups=self.groups)
                alpha, shift = both[..., 0].chunk(2, dim=1)
            return cast(alpha, x.dtype), cast(shift, x.dtype)


# Parent, name and module of the convolution, name and module of the norm.
Pair = tuple[nn.Module, str, nn.Conv2d, str, DNB]


def _pairs(parent: nn.Module) -> Iterator[Pair]:
    before = None
    for name, child in parent.named_children():
        if _can_fold(child) and before is not None:
            yield parent, *before, name, child
        before = (name, child) if _is_plain(child) else None


def _is_plain(conv: nn.Module) -> bool:
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and not conv._forward_hooks
        and not conv._forward_pre_hooks
    )


def _can_fold(norm: nn.Module) -> bool:
    members = (norm, getattr(norm, 'bn', None), getattr(norm, 'sc', None))
    return (
        type(norm) is DNB
        and not norm.bn.training
        and norm.bn.running_mean is not None
        and is_known(norm.bn)
        and not any(m._forward_hooks or m._forward_pre_hooks for m in members)
    )


def _is_pointwise(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == (1, 1)
        and conv.stride == (1, 1)
        and conv.padding in ((0, 0), 'valid', 'same')
        and conv.groups == 1
    )


def _map_sizes(
    model: nn.Module, example: Tensor, pairs: list[Pair]
) -> tuple[dict[tuple[nn.Conv2d, DNB], int], list[Tensor]]:
    """Places of the map between a convolution and its norm, where there is one; the outputs."""
    returned, got = {}, {}

    def keep_output(conv: nn.Module, _: tuple, output: Tensor) -> None:
        returned.setdefault(conv, []).append(output)

    def keep_input(norm: nn.Module, inputs: tuple) -> None:
        got.setdefault(norm, []).append(inputs[0])

    handles = []
    for _, _, conv, _, norm in pairs:
        handles.append(conv.register_forward_hook(keep_output))
        handles.append(norm.register_forward_pre_hook(keep_input))
    try:
        outputs = _outputs(model, example)
    finally:
        for handle in handles:
            handle.remove()
    sizes = {
        (conv, norm): returned[conv][0][0, 0].numel()
        for _, _, conv, _, norm in pairs
        if conv in returned and _all_from(got.get(norm, []), returned[conv])
    }
    return sizes, outputs


@torch.no_grad()
def _outputs(model: nn.Module, example: Tensor) -> list[Tensor]:
    leaves = tree_flatten(model(example))[0]
    # Copies: an activation behind may work in place.
    return [leaf.clone() for leaf in leaves if isinstance(leaf, Tensor)]


def _what_differs(model: nn.Module, example: Tensor, expected: list[Tensor]) -> str:
    """How the outputs differ by more than rounding, if they do."""
    try:
        found = _outputs(model, example)
    except (AttributeError, RuntimeError) as error:
        return f'it then fails ({error})'
    if [output.shape for output in found] != [output.shape for output in expected]:
        return 'its outputs then have other sizes'
    for one, other in zip(found, expected):
        largest = other.abs().max().item() if other.numel() else 0.0
        if not other.is_floating_point() or not math.isfinite(largest):
            continue
        narrow = other.dtype in (torch.float16, torch.bfloat16)
        off = (one - other).abs().max().item() if largest else 0.0
        if not off <= (0.1 if narrow else 1e-3) * largest:
            return f'its output is then off by up to {off:.2g}'
    return ''


def _all_from(inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    return bool(inputs) and all(any(x is y for y in outputs) for x in inputs)
