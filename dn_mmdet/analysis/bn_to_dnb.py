"""From a file of weights trained with BatchNorm, whoever named them, to a checkpoint with DN-B."""

from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS
from torch import Tensor, nn
from tqdm import tqdm

from ..engine.checkpoint_file import is_remote, meta_of, read_checkpoint, state_dict_of
from ..engine.hooks.divergence import non_finite_key
from ..engine.preflight.checkpoint import StateMatch, check_numbers, match_state
from ..engine.preflight.pixels import training_notes
from ..engine.preflight.registries import config_scope, dicts_in, is_type
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config
from ..layers import DNB
from ..layers.state import PLAIN, norms_of, rekeyed
from ..runs.publish import checkpoint_bytes, package_versions
from ..utils.errors import UserError
from ..utils.files import atomic_write, check_output_file, is_same_file
from ..utils.python39 import zip_strict
from ..utils.text import first_few, markdown_table
from ..weights import (
    CONVENTIONS,
    OWN,
    Translation,
    bare_name,
    find_weights,
    read_keras,
    translate,
)
from ..weights.keras_files import SUFFIXES
from .model import build_model
from .visualize_affine import find_images, image_pipeline

__all__ = ['bn_to_dnb']

# Below this share of matching weights the names are taken for unknown ones.
KNOWN_SHARE = 0.1
OWNERS = ', '.join(convention.owner for convention in (OWN, *CONVENTIONS))


def bn_to_dnb(
    config: str,
    checkpoint: str,
    out: str | None = None,
    report: Sequence[str] | None = None,
    keep_bn: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Write weights that were trained with BatchNorm as a checkpoint of a DN-B model.

    The statistics stay, gamma and beta become offsets, and the last weight of each SC-Module is 0,
    so the model computes what it did with BatchNorm. The names may be those of mmdet, mmpretrain,
    torchvision or Keras, and the weights may be where training scripts of others put them
    (averaged ones are preferred), in the wrappers of torch.compile and of several processes. A part
    of the model of which the file has nothing, or whose weights have another shape (a classifier
    for other classes), is left out of the checkpoint; the part with DN-B must be complete. The same
    input gives the same bytes.

    Args:
        config (str): Configuration of a detector or classifier with DN-B.
        checkpoint (str): The weights: a checkpoint, or its address, or a .npz or .h5 of Keras.
        out (str, optional): The file to write. Defaults to ``<name of checkpoint>_dnb.pth`` in the
            folder ``checkpoints``.
        report (Sequence[str], optional): Images, or folders of images, on which the DN-B model is
            compared with its BatchNorm twin. Defaults to none.
        keep_bn (bool): Write the weights with BatchNorm under the names of the model, for the
            baseline. Defaults to False.
        cfg_options (Mapping, optional): Overrides of the configuration, dotted key to value.

    Returns:
        Path: The file. What was found, left out and written is printed.

    Raises:
        UserError: A mistake in the configuration, or the weights or images are missing, damaged or
            of something else. Nothing has been written then.
    """
    cfg = load_test_config(config, checkpoint, cfg_options=cfg_options)
    stem = Path(checkpoint).stem.removesuffix('.weights')
    target = Path(out or f'checkpoints/{stem}_{"bn" if keep_bn else "dnb"}.pth')
    _check_target(target, checkpoint)
    files = [f for path in report or () for fs in find_images([path], None).values() for f in fs]
    with config_scope(cfg):
        model, twin = _build(cfg, keep_bn)
        content = (
            read_keras(checkpoint)
            if _is_keras(checkpoint)
            else read_checkpoint(checkpoint, 'the command line')
        )
        under, weights = find_weights(content)
        given = rekeyed(state_dict_of(_as_tensors(weights), checkpoint), bare_name)
        _check_norms(given, checkpoint)
        found = translate(given, twin.state_dict())
        check_numbers(found.state, checkpoint)
        parts = _parts(twin, found)
        _check_parts(model, parts, found, given, cfg, checkpoint)
        whole = {name for name, match in parts.items() if _complete(match)}
        state = _part_of(model, found.state, whole)
        if (bad := non_finite_key(state)) is not None:
            raise UserError(
                f'{checkpoint}: {bad} holds NaN or infinite values: give other weights.'
            )
        notes = training_notes(content, given, cfg, twin, checkpoint)
        table = _report(cfg, model, twin, found, whole, files) if files else ''
    meta = _metadata(content, found, checkpoint, complete=len(whole) == len(parts))
    content = checkpoint_bytes(meta, state)
    _write(target, content)
    where = f'{checkpoint}, {under!r} in it' if under not in ('', 'state_dict') else checkpoint
    _print(target, len(content), where, given, found, parts, state)
    remark = found.convention.remarks.get(found.architecture)
    for note in filter(None, (*notes, remark)):
        print(f'  note: {note}')
    if table:
        print(f'\n{table}')
    return target


def _check_target(target: Path, checkpoint: str) -> None:
    if target.suffix != '.pth':
        raise UserError(f'{target} must end in .pth: it becomes a checkpoint.')
    check_output_file(target, 'OUT')
    if is_same_file(target, os.path.expanduser(checkpoint)):
        raise UserError(
            f'{target} is the file that the weights are read from: give another name to write to.'
        )


def _build(cfg: Config, keep_bn: bool) -> tuple[nn.Module, nn.Module]:
    """The model of a configuration and the same one with BatchNorm in place of DN-B."""
    plain = Config(dict(model=cfg.model.to_dict()), filename=cfg.filename)
    for _, part in dicts_in(plain.model, 'model'):
        if is_type(MODELS, part.get('type'), DNB):
            kept = {k: part[k] for k in ('eps', 'momentum', 'requires_grad') if k in part}
            part.clear()
            part.update(type='BN', **kept)
    # What a file does not give, the first layer of each SC-Module, is drawn alike every time.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, twin = build_model(cfg), build_model(plain)
    if not keep_bn and not any(isinstance(module, DNB) for module in model.modules()):
        raise UserError(
            f'the model of {cfg.filename} has no DN-B: give a configuration with '
            "norm_cfg=dict(type='DNB'), or --keep-bn to write the weights with BatchNorm."
        )
    return (twin if keep_bn else model).eval(), twin.eval()


def _is_keras(path: str) -> bool:
    return not is_remote(path) and path.lower().endswith(SUFFIXES)


def _as_tensors(weights: Mapping) -> Mapping:
    """Weights whose arrays of numpy, if it has some, became tensors."""
    if any(isinstance(value, np.ndarray) for value in weights.values()):
        return {
            key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for key, value in weights.items()
        }
    return weights


def _check_norms(given: Mapping[str, Tensor], checkpoint: str) -> None:
    kinds = {*norms_of(given).values()} - {'BN'}
    if kinds == {PLAIN}:
        raise UserError(
            f'{checkpoint} has no running statistics, so its norms are {PLAIN} and not BatchNorm, '
            'or it is incomplete: give the whole weights of a model with BatchNorm.'
        )
    if kinds:
        raise UserError(
            f'{checkpoint} already has {sorted(kinds - {PLAIN})[0]} and not BatchNorm: it needs no '
            'conversion, give it to a run as it is.'
        )


def _parts(twin: nn.Module, found: Translation) -> dict[str, StateMatch]:
    """How the weights fit each part of the model, which they are loaded into."""
    return {
        name: match_state(part, _below(found.state, name))
        for name, part in twin.named_children()
        if part.state_dict()
    }


def _below(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(f'{name}.'): value
        for key, value in state.items()
        if key.startswith(f'{name}.')
    }


def _complete(match: StateMatch) -> bool:
    return not (match.missing or match.reshaped)


def _check_parts(
    model: nn.Module,
    parts: Mapping[str, StateMatch],
    found: Translation,
    given: Mapping[str, Tensor],
    cfg: Config,
    checkpoint: str,
) -> None:
    """The parts with DN-B must be complete, in names and shapes."""
    dynamic = [
        name
        for name in parts
        if any(isinstance(module, DNB) for module in model.get_submodule(name).modules())
    ]
    for name in dynamic or ['backbone']:
        match = parts[name]
        total = match.matched + len(match.missing) + len(match.reshaped)
        if match.matched + len(match.reshaped) < KNOWN_SHARE * total:
            raise UserError(
                f'{checkpoint} has names that are not known for the {name} of {cfg.filename}, as '
                f'{first_few(map(repr, given))}: those of {OWNERS} are, of the same architecture. '
                'Nothing was written.'
            )
        if not _complete(match):
            raise UserError(
                f'{checkpoint}, read with the names of {found.convention.owner}, does not fit the '
                f'{name} of {cfg.filename}: {match}'
                f'{_listed(", and left over", found.left_over)}. Give weights of the same '
                'architecture. Nothing was written.'
            )


def _part_of(
    model: nn.Module, state: Mapping[str, Tensor], whole: set[str]
) -> OrderedDict[str, Tensor]:
    """The state of the complete parts of the model, which take the weights over."""
    for name in whole:
        match_state(model.get_submodule(name), _below(state, name))
    full = model.state_dict()
    kept = OrderedDict((k, v.clone()) for k, v in full.items() if k.partition('.')[0] in whole)
    kept._metadata = OrderedDict(
        (place, told)
        for place, told in full._metadata.items()
        if not place or place.partition('.')[0] in whole
    )
    return kept


def _metadata(
    content: Mapping, found: Translation, checkpoint: str, complete: bool
) -> dict[str, Any]:
    given = meta_of(content)
    meta = {
        'weights': f'{"whole model" if complete else "backbone alone"}, converted from BatchNorm',
        'source': checkpoint if is_remote(checkpoint) else Path(checkpoint).name,
        'names': found.convention.owner,
        'versions': package_versions(),
    }
    training = found.convention.training.get(found.architecture)
    if training:
        meta['training'] = asdict(training)
    elif 'training' in given:
        meta['training'] = given['training']
    if complete and isinstance(given.get('dataset_meta'), Mapping):
        meta['dataset_meta'] = {'classes': given['dataset_meta'].get('classes')}
    return json.loads(json.dumps(meta, default=str))


def _write(target: Path, content: bytes) -> None:
    try:
        with atomic_write(target) as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f'{target} cannot be written ({error.strerror}): choose another OUT, or correct the '
            'permissions of its folder.'
        ) from error


def _print(
    target: Path,
    size: int,
    where: str,
    given: Mapping[str, Tensor],
    found: Translation,
    parts: Mapping[str, StateMatch],
    state: Mapping[str, Tensor],
) -> None:
    written = {key.partition('.')[0] for key in state}
    unused = found.left_over + [k for k in found.state if k.partition('.')[0] not in written]
    print(
        f'{where}: names of {found.convention.owner}, {len(given) - len(unused)} of '
        f'{len(given)} keys used{_listed(", left over", unused)}'
    )
    for name, match in parts.items():
        if match.matched or match.reshaped:
            print(f'  {name}: {match}' + ('' if _complete(match) else '; left out'))
        else:
            print(f'  {name}: not in the file; left out')
    norms = sum(kind == 'DNB' for kind in norms_of(state).values())
    print(f'{target}: {size / 1e6:.2f} MB, {norms} norm layers with DN-B')
    if written == {*parts}:
        print(f'  --cfg-options load_from={target}')
    print(f"  init_cfg=dict(type='Pretrained', checkpoint='{target}', prefix='backbone.')")


def _listed(what: str, keys: Sequence[str]) -> str:
    return f'{what} {len(keys)} ({first_few(keys)})' if keys else ''


def _report(
    cfg: Config,
    model: nn.Module,
    twin: nn.Module,
    found: Translation,
    whole: set[str],
    files: Sequence[Path],
) -> str:
    """Table of how far the outputs of both models lie apart."""
    pipeline, largest = image_pipeline(cfg), {}
    alone = len(whole) < sum(bool(part.state_dict()) for part in twin.children())
    with torch.no_grad(), as_user_errors(cfg):
        for number, file in enumerate(tqdm(files, desc='images', unit='image', disable=None)):
            batch = pseudo_collate([pipeline(dict(img_path=str(file), img_id=number))])
            for name, (ours, theirs) in _outputs(batch, model, twin, alone).items():
                apart = (ours - theirs).abs().max().item()
                before = largest.get(name, (0.0, 0.0))
                largest[name] = max(before[0], apart), max(before[1], theirs.abs().max().item())
    rows = [['output', 'largest difference', 'largest value']]
    rows += [[name, f'{apart:.2e}', f'{value:.2e}'] for name, (apart, value) in largest.items()]
    return f'DN-B against BatchNorm on {len(files)} images:\n\n{markdown_table(rows)}'


def _outputs(
    batch: Mapping, model: nn.Module, twin: nn.Module, alone: bool
) -> dict[str, tuple[Tensor, Tensor]]:
    data = twin.data_preprocessor(batch, False)
    pairs = [
        _tensors(each.backbone(data['inputs']) if alone else each(**data, mode='tensor'))
        for each in (model, twin)
    ]
    what = 'feature' if alone else 'output'
    return {f'{what} {number}': pair for number, pair in enumerate(zip_strict(*pairs))}


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, Mapping) else value
    return [tensor for each in values for tensor in _tensors(each)]
