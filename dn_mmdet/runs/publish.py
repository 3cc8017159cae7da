"""Publishing a checkpoint: weights and plain metadata in a file whose name carries its hash."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..engine.checkpoint_file import meta_of, read_checkpoint, state_dict_of
from ..engine.config_text import evaluation_data, portable_config, portable_path
from ..engine.hooks.divergence import non_finite_key
from ..utils.errors import UserError
from ..utils.files import atomic_write
from ..utils.text import error_line
from ..utils.versions import installed_version
from ..version import __version__

__all__ = ['checkpoint_bytes', 'package_versions', 'publish']


def publish(
    checkpoint: str | os.PathLike,
    out: str | os.PathLike = 'checkpoints',
    name: str | None = None,
    backbone_only: bool = False,
    half: bool = False,
    metrics: Mapping[str, float] | None = None,
    dataset: str | None = None,
) -> Path:
    """Write the weights of a checkpoint for others, and print what was written.

    The file is ``<name>-<first 8 hex digits of its SHA-256>.pth``, as torch.hub verifies it. It
    holds ``state_dict`` and ``meta`` and loads under ``torch.load(weights_only=True)`` with
    nothing allow-listed. ``meta`` is of plain dicts, lists, strings and numbers: ``cfg`` (text of
    the configuration), ``dataset_meta`` (``classes``), ``epoch``, ``iter``, ``seed`` and ``time``
    of the training, ``revision`` (of the repository that it was started in), ``metrics``,
    ``evaluated_on``, ``weights`` (what was done to them) and ``versions``. Nothing in it is an
    absolute path. The same input gives the same bytes.

    Where EMAHook was at work the weights are the averaged ones, since mmengine saves these as
    ``state_dict``.

    Args:
        checkpoint (str | PathLike): Of a detector or classifier, saved by ``tools/train.py``.
        out (str | PathLike): Folder to write to. Defaults to 'checkpoints'.
        name (str, optional): Defaults to the name of the experiment, which is that of its
            configuration file, with ``_backbone`` if ``backbone_only``.
        backbone_only (bool): Keep only the weights under ``backbone.``. Defaults to False.
        half (bool): Round weights of two and more dimensions to float16, which halves the file;
            biases and norm statistics stay float32, and loading makes float32 of all. Metrics
            are those of before the rounding. Defaults to False.
        metrics (Mapping[str, float], optional): Name to value. Defaults to those of the epoch of
            the checkpoint, from the file itself or from the logs in its folder, if they are there.
        dataset (str, optional): What the metrics were measured on. Defaults to the place of the
            validation data in the configuration.

    Returns:
        Path: The file.

    Raises:
        UserError: There is no checkpoint, it holds something other than finite weights, or a
            damaged file stands in the place of the new one.
    """
    path = Path(checkpoint).expanduser()
    content = read_checkpoint(str(path), 'the command line')
    weights = _weights(content, path, backbone_only, half)
    try:
        meta = _metadata(content, path, metrics, dataset)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(
            f'{path} says of itself what mmengine would not ({error_line(error)}): give a '
            'checkpoint as mmengine saved it, or one of its weights alone (the state_dict).'
        ) from error
    meta['weights'] = ', '.join(
        filter(
            None,
            [
                # In the file's metadata, so its hash depends on these words.
                'backbone alone' if backbone_only else 'whole model',
                'exponential moving average' if 'ema_state_dict' in content else '',
                'matrices and kernels rounded to float16' if half else 'float32 as trained',
            ],
        )
    )
    data = checkpoint_bytes(meta, weights)
    name = name or _name(content, path) + ('_backbone' if backbone_only else '')
    if not re.fullmatch(r'[\w.+-]+', name):
        raise UserError(
            f'--name {name!r} has characters other than letters, digits and _.+-: '
            'it is the name of a file without folder or suffix.'
        )
    target = Path(out) / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}.pth'
    if target.exists() and target.read_bytes() != data:
        raise UserError(
            f'{target} exists, but its content does not match the hash in its name, so '
            'it is damaged: remove it and publish again.'
        )
    try:
        with atomic_write(target) as file:
            file.write(data)
    except OSError as error:
        raise UserError(
            f'{target} cannot be written ({error.strerror}): choose another folder '
            'with --out, or fix its permissions.'
        ) from error
    _print(target, len(data), weights, meta)
    return target


def checkpoint_bytes(meta: Mapping[str, Any], weights: Mapping[str, Tensor]) -> bytes:
    """What a file of weights holds; the same for the same input, whatever the file is called."""
    # In memory: in a file of its own torch.save would write the name of the file into it.
    buffer = io.BytesIO()
    torch.save({'meta': meta, 'state_dict': weights}, buffer)
    return buffer.getvalue()


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that a file of weights was written with, by name."""
    return {
        'dn_mmdet': __version__,
        'torch': str(torch.__version__),
        **{name: installed_version(name) for name in ('mmengine', 'mmcv', 'mmdet')},
    }


def _weights(content: Mapping, path: Path, backbone_only: bool, half: bool) -> OrderedDict:
    state = state_dict_of(content, str(path))
    prefix = 'backbone.' if backbone_only else ''
    given = {key: value for key, value in state.items() if key.startswith(prefix)}
    if not given:
        raise UserError(f"{path} has no weights under 'backbone.': omit --backbone-only.")
    other = next((key for key, value in given.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise UserError(
            f'{path} holds a {type(given[other]).__name__} at {other} in its '
            'state_dict, and only tensors are published.'
        )
    # A copy: a view would drag the whole of its storage into the file.
    weights = OrderedDict(
        (key, _halved(value) if half else value.detach().clone()) for key, value in given.items()
    )
    if (bad := non_finite_key(weights)) is not None:
        rounded = half and non_finite_key({bad: given[bad]}) is None
        why = (
            'is too large for float16: omit --half'
            if rounded
            else 'holds NaN or infinite values: publish a checkpoint from before the run diverged'
        )
        raise UserError(f'{path}: {bad} {why}.')
    # What the layers say of themselves: their versions, and the norms their form.
    weights._metadata = OrderedDict(
        (key, value)
        for key, value in state._metadata.items()
        if not backbone_only or key in ('', 'backbone') or key.startswith(prefix)
    )
    return weights


def _halved(value: Tensor) -> Tensor:
    if value.is_floating_point() and value.dim() > 1:
        return value.detach().half()
    return value.detach().clone()


def _metadata(
    content: Mapping, path: Path, metrics: Mapping[str, float] | None, dataset: str | None
) -> dict[str, Any]:
    given = meta_of(content)
    text = given.get('cfg') if isinstance(given.get('cfg'), str) else ''
    meta: dict[str, Any] = {'cfg': portable_config(text)}
    classes = (given.get('dataset_meta') or {}).get('classes')
    if classes is not None:
        meta['dataset_meta'] = {'classes': classes}
    kept = ('epoch', 'iter', 'seed', 'time', 'training')
    meta.update({key: given[key] for key in kept if key in given})
    # mmengine glues the revision of the repository to its own version.
    version = re.fullmatch(r'(.+?)([0-9a-f]{40})?', str(given.get('mmengine_version', '')))
    if version and version[2]:
        meta['revision'] = version[2]
    meta['metrics'] = dict(_metrics(content, given, path) if metrics is None else metrics)
    if meta['metrics'] and (data := dataset or evaluation_data(meta['cfg'])):
        meta['evaluated_on'] = data if dataset else portable_path(data)
    meta['versions'] = package_versions()
    # Tuples, numpy's numbers and the like become what every reader has.
    return json.loads(json.dumps(meta, default=lambda value: value.item()))


def _metrics(content: Mapping, meta: Mapping, path: Path) -> dict[str, float]:
    """Of the validation that followed the epoch of the checkpoint."""
    hub = content.get('message_hub') or {}
    # epoch_N.pth is first saved before its validation, with the metrics of the epoch before.
    if (hub.get('runtime_info') or {}).get('loop_stage') == 'val':
        found = {
            key.removeprefix('val/'): history.current()
            for key, history in hub['log_scalars'].items()
            if key.startswith('val/')
        }
    else:
        from .log import read_run_log

        step = meta.get('iter' if re.search(r'iter_\d+', path.name) else 'epoch')
        found = read_run_log(path.parent).val.get(step, {})
    return {
        key: float(value)
        for key, value in found.items()
        if isinstance(value, (int, float)) and key not in ('time', 'data_time', 'step')
    }


def _name(content: Mapping, path: Path) -> str:
    name = meta_of(content).get('experiment_name')
    return re.sub(r'_\d{8}_\d{6}$', '', name) if isinstance(name, str) and name else path.stem


def _print(target: Path, size: int, weights: Mapping[str, Tensor], meta: Mapping) -> None:
    count = sum(value.numel() for value in weights.values() if value.is_floating_point())
    print(f'{target}: {size / 1e6:.2f} MB, {count / 1e6:.2f}M values ({meta["weights"]})')
    metrics = ', '.join(f'{key} {value:g}' for key, value in meta['metrics'].items())
    print(
        f'  {metrics} on {meta.get("evaluated_on", "unnamed data")}, epoch {meta.get("epoch")}'
        if metrics
        else '  no metric known; add one with --metric NAME=VALUE'
    )
    if any(key.startswith('backbone.') for key in weights):
        print(f"  init_cfg=dict(type='Pretrained', checkpoint='{target}', prefix='backbone.')")
