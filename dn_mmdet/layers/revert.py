"""Turning DN-B back into BatchNorm, as far as alpha and lambda stand still."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..utils.text import first_few
from .activated import unfold
from .dnc import DNC
from .dynamic_batch_norm import DynamicBatchNorm
from .inner_bn import FrozenBatchNorm2d
from .inspect import AffineMeans, mean_affine
from .modes import in_mode
from .norm_act import NormAct
from .places import Place, Where, find_layers, replace_layers, select_layers
from .sc_module import SCModule

__all__ = ['Movement', 'Reverted', 'revert_to_batchnorm']


class Movement(NamedTuple):
    """How far alpha and lambda of a layer moved about the means that BatchNorm now has.

    Attributes:
        samples (int): Number of maps that passed; 0 where nothing moves.
        alpha_spread (float): Standard deviation over samples, averaged over channels.
        lambda_spread (float): As ``alpha_spread``, of lambda.
        error (float): The change of the layer's output (before an activation of its own) as a
            share of the output, both as root mean squares, with normalized values of mean 0 and
            variance 1.
    """

    samples: int
    alpha_spread: float
    lambda_spread: float
    error: float


class Reverted(NamedTuple):
    """A model with BatchNorm in place of DN-B.

    Attributes:
        model (nn.Module): The model.
        movement (dict[str, Movement]): What it cost, by the name of the layer.
    """

    model: nn.Module
    movement: dict[str, Movement]


def revert_to_batchnorm(
    model: nn.Module,
    batches: Iterable[Any] | None = None,
    run: Callable[[Any], Any] | None = None,
    where: Where | None = None,
) -> Reverted:
    """Replace DN-B and DN-C by BatchNorm whose gamma and beta are their alpha and lambda.

    Where the weights of the SC-Module say the same of every image, as at the start, the model
    computes what it did. Elsewhere BatchNorm gets the mean alpha and lambda over the images of
    ``batches``, all of which pass the unchanged model; how far the layer moved about them is told.
    DN-C takes its alpha and lambda from the running statistics in evaluation: what it does there
    stays.

    The layers become ``nn.BatchNorm2d``, with ``sync=True`` ``nn.SyncBatchNorm``, with the
    statistics, eps, momentum, device, dtype and mode of before; gamma and beta are trained where
    the SC-Module was. An activation that DN-B applied goes back to where
    :func:`fold_activations` found it, or else behind the BatchNorm, in a module with BatchNorm's
    keys. SE + BN is left alone: no BatchNorm weighs the channels of each image. Hooks of a
    replaced layer are dropped.

    Args:
        model (nn.Module): Changed in place, or replaced where it is a DN-B itself.
        batches (Iterable, optional): Inputs of the model, in batches of any size. Needed only
            where alpha and lambda move. Defaults to None.
        run (Callable, optional): Called with each batch, in evaluation and without gradients, to
            let the model see it: ``lambda batch: model(batch[0])`` for pairs of images and
            labels, ``model.test_step`` for a detector's loader. Defaults to None, for the model
            itself.
        where (Callable | str | Sequence[str], optional): Which layers are replaced; as in
            :func:`convert_batchnorm`. Defaults to None, for all.

    Returns:
        Reverted: The model, and how far the alpha and lambda of each layer moved.

    Raises:
        TypeError: ``model`` is not a module, or an argument is not of the type above.
        ValueError: There is nothing to convert, ``where`` or one of its patterns selects nothing,
            layers move and there are no batches or none reached one of them, alpha or lambda is
            NaN or infinite, the model is wrapped in ``DistributedDataParallel``, a layer
            normalizes by something else than a BatchNorm without affine, or is on the device
            'meta', without numbers. The model has not been changed then.
    """
    top, places = find_layers(
        model, lambda layer: isinstance(layer, DynamicBatchNorm), 'DN-B or DN-C'
    )
    places = select_layers(places, where)
    if batches is not None and (isinstance(batches, str) or not isinstance(batches, Iterable)):
        raise TypeError(f'batches must be an iterable of inputs, got {type(batches).__name__}')
    if run is not None and not callable(run):
        raise TypeError(f'run must be a callable of one batch, got {type(run).__name__}')
    layers = {}
    for place in places:
        if place.layer not in layers.values():
            layers[place.path] = place.layer
    for path, layer in layers.items():
        if not isinstance(layer.bn, _BatchNorm) or layer.bn.affine:
            raise ValueError(
                f'{path or "model"}.bn must be a BatchNorm without affine, '
                f'got {type(layer.bn).__name__}'
            )
    if bare := [path or 'model' for path, layer in layers.items() if _has_no_numbers(layer)]:
        raise ValueError(
            f"{first_few(bare)} has no numbers, only shapes, on the device 'meta', so its alpha "
            'and lambda are not known: first move the model with to_empty(device=...) and give it '
            'weights with load_state_dict'
        )
    with torch.no_grad(), in_mode(model, training=False):
        means = _means(layers, batches, run or model)
    made = {layer: _batchnorm(layer, means[path]) for path, layer in layers.items()}
    _keep_activations(places, made)
    replace_layers(places, made)
    unfold(top)
    return Reverted(top.model, {path: _movement(mean) for path, mean in means.items()})


def _means(
    layers: Mapping[str, DynamicBatchNorm],
    batches: Iterable[Any] | None,
    run: Callable[[Any], Any],
) -> dict[str, AffineMeans]:
    """What is said of every image, and the means of the rest over the batches."""
    moving = {path: layer for path, layer in layers.items() if _moves(layer)}
    means = {}
    if moving:
        listed = f'{len(moving)} of {len(layers)} layers: {first_few(moving)}'
        if batches is None:
            raise ValueError(
                f'alpha and lambda differ between images in {listed}: give batches, the inputs '
                'whose mean alpha and lambda BatchNorm shall have'
            )
        with mean_affine(moving) as means:
            for batch in batches:
                run(batch)
        if unseen := [path for path in moving if path not in means]:
            raise ValueError(
                f'batches let no image pass {first_few(unseen)}, whose alpha and lambda move'
            )
    means = {path: means.get(path) or _standing(layer) for path, layer in layers.items()}
    if bad := [path or 'model' for path, mean in means.items() if not _is_finite(mean)]:
        raise ValueError(
            f'alpha or lambda of {first_few(bad)} is NaN or infinite: look for such values in the '
            'weights of the model and in batches'
        )
    return means


def _has_no_numbers(layer: DynamicBatchNorm) -> bool:
    return any(numbers.is_meta for numbers in (*layer.parameters(), *layer.buffers()))


def _is_finite(mean: AffineMeans) -> bool:
    return bool(mean.alpha.isfinite().all() and mean.shift.isfinite().all())


def _moves(layer: DynamicBatchNorm) -> bool:
    """Whether alpha and lambda depend on the images, by the weights."""
    # DN-C sees the running statistics where there are any.
    return _reads_input(layer.sc) and (not isinstance(layer, DNC) or layer._uses_batch_statistics)


def _reads_input(sc: SCModule) -> bool:
    """Whether a unit depends on the input and an output on that unit."""
    per_group = sc.fc2_weight.unflatten(0, (sc.groups, -1))  # Group, its outputs, its units.
    used = (per_group != 0).any(dim=1).flatten()
    return bool((used & (sc.fc1_weight != 0).any(dim=1)).any())


def _standing(layer: DynamicBatchNorm) -> AffineMeans:
    offset = layer.alpha_offset
    # Any image will do; two values, since there may be no running statistics.
    affine = layer.affine(offset.new_zeros(2, len(offset), 1, 1))
    still = torch.zeros_like(offset)
    return AffineMeans(0, affine.alpha[0], affine.shift[0], still, still)


@torch.no_grad()
def _batchnorm(layer: DynamicBatchNorm, mean: AffineMeans) -> nn.Module:
    bn, kind, options = layer.bn, nn.BatchNorm2d, {}
    if layer.sync:
        kind, options = nn.SyncBatchNorm, {'process_group': bn.process_group}
    elif isinstance(bn, FrozenBatchNorm2d):
        kind = FrozenBatchNorm2d
    made = kind(
        len(layer.alpha_offset),
        eps=bn.eps,
        momentum=bn.momentum,
        track_running_stats=bn.running_mean is not None,
        device=layer.alpha_offset.device,
        dtype=layer.alpha_offset.dtype,
        **options,
    )
    for name, value in bn.named_buffers():
        setattr(made, name, value)
    made.track_running_stats = bn.track_running_stats
    made.weight.copy_(mean.alpha)
    made.bias.copy_(mean.shift)
    trained = any(parameter.requires_grad for parameter in layer.sc.parameters())
    return made.requires_grad_(trained).train(bn.training)


def _keep_activations(places: list[Place], made: dict[nn.Module, nn.Module]) -> None:
    """Put what DN-B applied to its output where the rest of the model, or nobody, applies it."""
    for place in places:
        name, parent = getattr(place.layer, 'activation', None), place.parent
        if name is None:
            continue
        act = getattr(nn, name)().train(place.layer.training)
        if _gave_activation(parent):
            parent.activate, parent.with_activation = act, True
        # One that marks its output has left the activation where it was.
        elif not (place.layer.marks_output or isinstance(made[place.layer], NormAct)):
            made[place.layer] = NormAct(made[place.layer], act=act)


def _gave_activation(parent: nn.Module) -> bool:
    """Whether it is mmcv's ConvModule after ``fold_activations``."""
    activate = parent._modules.get('activate')
    return isinstance(activate, nn.Identity) and not getattr(parent, 'with_activation', True)


def _movement(mean: AffineMeans) -> Movement:
    moved, square = mean.alpha_var + mean.shift_var, mean.alpha.square() + mean.shift.square()
    whole = (moved + square).mean()
    return Movement(
        mean.samples,
        float(mean.alpha_var.sqrt().mean()),
        float(mean.shift_var.sqrt().mean()),
        float((moved.mean() / whole).sqrt()) if whole else 0.0,
    )
