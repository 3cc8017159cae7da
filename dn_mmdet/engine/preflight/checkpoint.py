"""Checking every checkpoint that a run will load: it must be there, harmless, and fit the model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from ...layers.dynamic_norm import DynamicNorm
from ...layers.state import PLAIN, TWINS, form_mismatch, norm_mismatch, norms_of, rekeyed
from ...utils.errors import UserError
from ...utils.text import first_few
from ...weights import bare_name
from ...weights.translate import foreign_names
from ..checkpoint_file import meta_of, read_checkpoint, state_dict_of
from .pixels import training_notes
from .planned import PlannedRun
from .registries import is_type

__all__ = [
    'StateMatch',
    'check_checkpoints',
    'check_numbers',
    'check_test_checkpoint',
    'match_state',
]

# Of layers and their statistics, which are real numbers in every model.
REAL = ('weight', 'bias', 'running_mean', 'running_var')
HEADS = ('bbox_head.', 'head.', 'fc.', 'mask_head.', 'roi_head.', 'rpn_head.')


@dataclass(frozen=True)
class StateMatch:
    """How a state dict fits a model.

    Args:
        matched (int): Number of keys of the model that are given, in the right shape.
        missing (list[str]): Keys of the model that are not given.
        unexpected (list[str]): Keys that the model does not have.
        reshaped (list[str]): Keys of the model that are given in another shape.
    """

    matched: int
    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __str__(self) -> str:
        total = self.matched + len(self.missing) + len(self.reshaped)
        parts = [f'{self.matched} of the {total} keys of the model match']
        for keys, what in (
            (self.missing, 'missing'),
            (self.unexpected, 'unexpected'),
            (self.reshaped, 'of a different shape'),
        ):
            if keys:
                parts.append(
                    f'{len(keys)} {"is" if len(keys) == 1 else "are"} {what} ({first_few(keys)})'
                )
        return ', '.join(parts)


def check_checkpoints(run: PlannedRun) -> None:
    """Check every checkpoint that a run will load.

    Raises:
        UserError: One is missing, truncated or not a checkpoint, would run code, or does not fit.
    """
    if run.mode == 'test':
        path = run.cfg.load_from
        check_test_checkpoint(path, run.model, run.cfg, run.files.checkpoint(path, 'the test'))
        return
    _check_pretrained(run)
    if run.cfg.get('load_from'):
        _check_resume(run) if run.cfg.get('resume') else _check_load_from(run)


def check_test_checkpoint(
    path: str, model: nn.Module, cfg: Config, content: Mapping | None = None
) -> dict[str, Tensor]:
    """Check the checkpoint of a test, which must give every weight and no other.

    Args:
        path (str): The checkpoint.
        model (nn.Module): Is changed.
        cfg (Config): The configuration that the model is of.
        content (Mapping, optional): What the checkpoint holds. Defaults to None: it is read.

    Returns:
        dict[str, Tensor]: The weights in the checkpoint.

    Raises:
        UserError: It is missing, would run code, or does not fit.
    """
    content = read_checkpoint(path, 'the test') if content is None else content
    state = state_dict_of(content, path)
    remedy = 'Give a checkpoint that this configuration trained'
    _demand(_match(model, content, state, path, cfg), path, cfg, remedy)
    return state


def match_state(model: nn.Module, state: Mapping[str, Tensor]) -> StateMatch:
    """Load a state dict into a model and report the fit; nothing is raised.

    The loading is real, so that what layers do to old or foreign keys when they load is done
    here too. As in mmengine, the counter of batches of a BatchNorm may be missing.

    Args:
        model (nn.Module): Is changed.
        state (Mapping[str, Tensor]): Key to weights.

    Returns:
        StateMatch: The fit.
    """
    missing, unexpected, errors = [], [], []

    def load(module: nn.Module, local: dict, prefix: str) -> None:
        module._load_from_state_dict(local, prefix, {}, True, missing, unexpected, errors)
        for name, child in module._modules.items():
            if child is not None:
                inner = f'{prefix}{name}.'
                load(child, {k: v for k, v in local.items() if k.startswith(inner)}, inner)

    load(model, dict(state), '')
    missing = [key for key in missing if not key.endswith('num_batches_tracked')]
    reshaped = [
        match[1] for error in errors if (match := re.match(r'size mismatch for (\S+):', error))
    ]
    matched = sum(not key.endswith('num_batches_tracked') for key in model.state_dict())
    return StateMatch(matched - len(missing) - len(reshaped), missing, unexpected, reshaped)


def check_numbers(state: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights that are not of the kind that layers have, which loading would convert.

    Args:
        state (Mapping[str, Tensor]): Key to weights, with the names of torch.
        path (str): The file, for the message.

    Raises:
        UserError: Weights or statistics are not floating-point numbers, or a variance is negative.
    """
    for key, value in state.items():
        name = key.rpartition('.')[2]
        if name not in REAL:
            continue
        if not isinstance(value, Tensor) or not value.is_floating_point():
            what = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise UserError(
                f'{path}: {key} is {what} where floating-point numbers belong: give weights as '
                'they were trained, neither quantized nor complex.'
            )
        if value.is_meta:
            raise UserError(
                f"{path}: {key} is on the device 'meta', a shape without numbers: give weights as "
                'they were trained.'
            )
        # float8 cannot be compared, nor can sparse tensors.
        if name == 'running_var' and (value := value.to_dense().float()).lt(0).any():
            raise UserError(
                f'{path}: {key} holds {value.min().item():.3g}, and a variance is never negative: '
                'the file is damaged, or its weights were put under other names; give other '
                'weights.'
            )


def _check_resume(run: PlannedRun) -> None:
    """The checkpoint that training resumes from must fit, and hold what resuming needs."""
    path = run.cfg.load_from
    content = run.files.checkpoint(path, '--resume')
    state = state_dict_of(content, path)
    _demand(
        # The state of the optimizer is not converted.
        _match(run.model, content, state, path, run.cfg, converted=False),
        path,
        run.cfg,
        'Resume with the configuration that the run was started with, or start a new run from '
        'these weights with --cfg-options load_from=PATH',
    )
    meta = meta_of(content)
    complete = {'epoch', 'iter'} <= set(meta)
    if not (complete and 'optimizer' in content and 'message_hub' in content):
        raise UserError(
            f'{path} holds weights without the state of the optimizer, as a best or a '
            'published checkpoint does, so training cannot resume from it: give an '
            f'epoch_N.pth, or start a new run from it with --cfg-options load_from={path}.'
        )
    counted = {
        key: meta[key] for key in ('epoch', 'iter', 'batch', 'batches', 'seed') if key in meta
    }
    odd = [key for key, value in counted.items() if type(value) is not int or value < 0]
    if odd:
        raise UserError(
            f'{path} says that {odd[0]} is {counted[odd[0]]!r}, which must be a number from 0: '
            'give a checkpoint as mmengine saved it.'
        )
    if 'config' in meta:
        # Runner.resume hands this text to Config.fromstring, which executes it.
        raise UserError(
            f"{path} is refused: its meta has a 'config', Python text that mmengine "
            'would run on resuming. Start a new run from its weights with --cfg-options '
            f'load_from={path}.'
        )


def _check_load_from(run: PlannedRun) -> None:
    """The checkpoint that training starts from must fit, but for the shape of head weights.

    These have another one when the number of classes changes; mmengine leaves them at their start.
    With the switch ``checkpoint`` off the fit is only noted.
    """
    path = run.cfg.load_from
    content = run.files.checkpoint(path, 'load_from')
    state = state_dict_of(content, path)
    if not run.switches.checkpoint:
        run.notes.append(f'load_from={path}: {match_state(run.model, state)}.')
        return
    _check_whole(run.model, state, path, run.cfg)
    match = _match(run.model, content, state, path, run.cfg)
    heads = [key for key in match.reshaped if key.startswith(HEADS)]
    _demand(
        replace(match, reshaped=[key for key in match.reshaped if key not in heads]),
        path,
        run.cfg,
        'Give a checkpoint of this model (preflight.checkpoint=False under --cfg-options loads '
        'what fits and keeps the initial values of the rest)',
    )
    run.notes += training_notes(content, state, run.cfg, run.model, path)
    if heads:
        run.notes.append(
            f'load_from={path}: {len(heads)} weights of the head have a different shape and keep '
            f'their initial values ({heads[0]} is the first).'
        )


def _check_whole(model: nn.Module, state: Mapping[str, Tensor], path: str, cfg: Config) -> None:
    """A backbone alone is loaded by the backbone, the rest of the model keeping its start."""
    backbone = getattr(model, 'backbone', None)
    if not isinstance(backbone, nn.Module):
        return
    inner = backbone.state_dict()
    rest = [key for key in model.state_dict() if not key.startswith('backbone.')]
    if not rest or any(key in state for key in rest) or foreign_names(state, model.state_dict()):
        return
    for prefix in ('', 'backbone.'):
        if any(f'{prefix}{key}' in state for key in inner):
            given = f", prefix='{prefix}'" if prefix else ''
            # mmengine merges no dict into None, and leaves _delete_ where there is nothing.
            instead = '_delete_=True, ' if 'init_cfg' in cfg.model.get('backbone', {}) else ''
            raise UserError(
                f'{path} holds a backbone and nothing else of the model, which load_from wants '
                'whole: set load_from=None, and in the configuration model.backbone.init_cfg='
                f"dict({instead}type='Pretrained', checkpoint={path!r}{given})."
            )


def _check_pretrained(run: PlannedRun) -> None:
    """Every ``init_cfg=dict(type='Pretrained', ...)`` must give the whole part that it is of.

    mmengine loads what fits and only warns of the rest, which would leave a backbone random.
    """
    for name, module, init in _pretrained(run.model):
        path, key = init['checkpoint'], f'model.{name}.init_cfg' if name else 'model.init_cfg'
        if not isinstance(path, str):
            raise UserError(
                f'{key}.checkpoint is {path!r}, which is not a file: to train from scratch, set '
                f'{key}=None.'
            )
        content = run.files.checkpoint(path, key, _where_to_get(path, key))
        given, prefix = state_dict_of(content, path), init.get('prefix')
        own = {child for child, _ in module.named_children()}
        if prefix and not any(k.startswith(prefix) for k in given):
            _own_names(module, given, path, run.cfg)
        state = _without_prefix(given, prefix, own, path, key)
        if type(module).init_weights is not BaseModule.init_weights:
            continue  # it converts what it loads in its own way
        # mmengine leaves out what tells of the form where it takes a part of a file.
        match = _match(module, content, state, path, run.cfg, told=not init.get('prefix'))
        # A classifier's last layer may lie beside the backbone in the file.
        foreign = [k for k in match.unexpected if k.partition('.')[0] in own]
        _demand(
            replace(match, unexpected=foreign),
            path,
            run.cfg,
            f'Give {key}.checkpoint a backbone of the same kind, or train from scratch with '
            f'--cfg-options {key}=None',
            part=name,
        )
        run.notes += training_notes(content, given, run.cfg, module, path)


def _match(
    model: nn.Module,
    content: Mapping,
    state: dict[str, Tensor],
    path: str,
    cfg: Config,
    converted: bool = True,
    told: bool = True,
) -> StateMatch:
    check_numbers(state, path)
    _check_twins(model, content, state, path, cfg)
    # mmengine takes `module.` off the keys alone, so the layers are not told of their form.
    raw = content.get('state_dict', content)
    told = told and not any(key.startswith('module.') for key in raw)
    if differing := form_mismatch(model, state, converted, told):
        reason, count = differing
        raise UserError(
            f'{path} does not fit {count} norm layers of the model of {cfg.filename}: {reason}.'
        )
    state = _own_names(model, state, path, cfg)
    other = norm_mismatch(model, state)
    _check_affine(model, state, path)
    match = match_state(model, state)
    if other and not (other[0] in ('BN', PLAIN) and cfg.get('allow_bn_checkpoint', False)):
        given, wanted, count = other
        way = (
            f'; to start {wanted} from the weights of {given}, add --cfg-options '
            'allow_bn_checkpoint=True'
            if given in ('BN', PLAIN)
            else ''
        )
        # The layers take over a BN state silently, so say what would match without that.
        plain = _plain_match(model, state)
        raise UserError(
            f'{path} has {given} where the model of {cfg.filename} has {wanted}, in '
            f'{count} norm layers. Compared by key, {plain}. Use a checkpoint and a '
            f'configuration of the same norm{way}.'
        )
    return match


def _check_affine(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """A BatchNorm without gamma and beta has 1 and 0; of one among others they were lost."""
    kinds = norms_of(state)
    plain = [place for place in norms_of(model.state_dict()) if kinds.get(place) == 'BN']
    bare = [p for p in plain if f'{p}.weight' not in state and f'{p}.bias' not in state]
    if bare and len(bare) < len(plain):
        raise UserError(
            f'{path} has neither weight nor bias for {len(bare)} of {len(plain)} BatchNorms '
            f'({first_few(bare)}): the file is damaged, give another.'
        )


def _own_names(
    model: nn.Module, state: Mapping[str, Tensor], path: str, cfg: Config
) -> Mapping[str, Tensor]:
    """The weights under the names of the model, if it takes them under those that they have."""
    if wrapped := next((key for key in state if bare_name(key) != key), None):
        raise UserError(
            f'{path} has names as {wrapped!r}, of a model in a wrapper as that of torch.compile, '
            f'under which {cfg.filename} does not find them: {_conversion(model, path, cfg)}.'
        )
    found = foreign_names(state, model.state_dict())
    if found is None:
        return state
    if match_state(model, state).missing:
        first = next(key for key in state if key not in found.state)
        raise UserError(
            f"{path} has {found.convention.owner}'s names of a {found.architecture} (as {first}), "
            f"where the model of {cfg.filename} has mmdet's: {_conversion(model, path, cfg)}."
        )
    return {**found.state, **{key: state[key] for key in found.left_over}}


def _conversion(model: nn.Module, path: str, cfg: Config) -> str:
    dynamic = any(isinstance(module, DynamicNorm) for module in model.modules())
    return (
        f'convert it with `python tools/model_converters/bn_to_dnb.py {cfg.filename} {path}'
        f'{"" if dynamic else " --keep-bn"}`, which says how to use what it writes'
    )


def _check_twins(
    model: nn.Module, content: Mapping, state: Mapping[str, Tensor], path: str, cfg: Config
) -> None:
    """DNB and DNC have the same keys and shapes: the state, or its configuration, tells which."""
    given = {*norms_of(state).values()} & {*TWINS}
    if not given:
        # Of a version whose layers did not yet say what they are.
        text = meta_of(content).get('cfg')
        given = (
            set(re.findall(r"type='(?:[\w.]+\.)?(DNB|DNC)'", text))
            if isinstance(text, str)
            else set()
        )
    own = {*norms_of(model.state_dict()).values()} & {*TWINS}
    if given and own and not given & own:
        raise UserError(
            f'{path} has {given.pop()} where the model of {cfg.filename} has '
            f'{own.pop()}, which has the same keys and computes something else. Use a '
            'checkpoint and a configuration of the same norm.'
        )


def _plain_match(model: nn.Module, state: Mapping[str, Tensor]) -> StateMatch:
    """The fit by names and shapes alone."""
    own = {k: v for k, v in model.state_dict().items() if not k.endswith('num_batches_tracked')}
    given = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    reshaped = [k for k in own if k in given and own[k].shape != given[k].shape]
    return StateMatch(
        sum(k in given for k in own) - len(reshaped),
        [k for k in own if k not in given],
        [k for k in given if k not in own],
        reshaped,
    )


def _demand(match: StateMatch, path: str, cfg: Config, remedy: str, part: str = '') -> None:
    if match.missing or match.unexpected or match.reshaped:
        what = f'the {part} of the model' if part else 'the model'
        raise UserError(
            f'{path} does not have the architecture of {what} of {cfg.filename}: {match}. {remedy}.'
        )


def _pretrained(model: nn.Module) -> Iterator[tuple[str, nn.Module, Mapping]]:
    for name, module in model.named_modules():
        inits = getattr(module, 'init_cfg', None) or []
        for init in [inits] if isinstance(inits, Mapping) else inits:
            if is_type(WEIGHT_INITIALIZERS, init.get('type'), PretrainedInit):
                yield name, module, init


def _where_to_get(path: str, key: str) -> str:
    scratch = f'to train from scratch, add --cfg-options {key}=None'
    if 'checkpoints' in os.path.normpath(path).split(os.sep)[:-1]:
        return f'checkpoints/README.md says where to get it or how to create it; {scratch}'
    return (
        f'train the configuration that produces it, or give another with {key}.checkpoint; '
        f'{scratch}'
    )


def _without_prefix(
    state: dict[str, Tensor], prefix: str | None, own: set[str], path: str, key: str
) -> dict[str, Tensor]:
    if not prefix:
        if 'backbone' not in own and any(k.startswith('backbone.') for k in state):
            raise UserError(
                f'{path} is a whole model, whose backbone has keys that begin with '
                f"'backbone.': set {key}.prefix='backbone.'."
            )
        return state
    prefix = prefix.rstrip('.') + '.'
    inner = rekeyed(state, lambda k: k[len(prefix) :] if k.startswith(prefix) else None)
    if not inner:
        raise UserError(
            f'{path} has no key that begins with {prefix!r}, the prefix of {key}: its '
            f'{len(state)} keys look like {next(iter(state))!r}.'
        )
    return inner
