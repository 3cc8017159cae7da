"""Options that would change nothing: names which a configuration only uses while it is read."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from ..utils.errors import UserError
from ..utils.text import first_few

__all__ = ['READ', 'check_option_keys', 'is_in_use', 'places_like', 'value_at']

# Keys that are read beside those of the Runner, by mmengine or by this package.
READ = {
    *inspect.signature(Runner.__init__).parameters,
    'activation_checkpointing',
    'allow_bn_checkpoint',
    'compile',
    'custom_imports',
    'data_root',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'preflight',
    'runner_type',
    'strategy',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}
# complexity.py reads them where the loaders do not say how large an image is.
READ_AT_LAST = {'input_size', 'test_pipeline'}


def check_option_keys(cfg: Config, options: Mapping[str, Any], path: str) -> None:
    """Check that something reads what ``--cfg-options`` sets.

    A variable of a configuration file has gone into the dicts that use it when the file has been
    read: setting it then has no effect. ``data_root`` has one, by :func:`use_data_root`.

    Args:
        cfg (Config): As it was read.
        options (Mapping): Dotted key to value.
        path (str): The file, for messages.

    Raises:
        UserError: Nothing reads a key; names those that are likely to be meant.
    """
    for key, value in options.items():
        top, _, rest = key.partition('.')
        if top in READ or (top in cfg and value_at(cfg, key) == value):
            continue
        places = [*places_like(cfg, key), *_places_with(cfg, top, rest)]
        places = [*dict.fromkeys(places)]
        if top in cfg:
            if not places and (top in READ_AT_LAST or _has_own_code(cfg)):
                continue
            way = f'set {first_few(places)}' if places else 'set what it was used for'
            raise UserError(
                f'--cfg-options {key}: {top} is only a name in {path}, whose value was used while '
                f'the file was read, so setting it changes nothing: {way}.'
            )
        close = get_close_matches(top, {*cfg, *READ}, n=1, cutoff=0.8)
        if close:
            raise UserError(
                f'--cfg-options {key}: {path} has no key {top!r}; did you mean {close[0]!r}?'
            )
        if not _has_own_code(cfg):
            way = f'did you mean {first_few(places)}?' if places else 'correct the key.'
            raise UserError(
                f'--cfg-options {key}: {path} has no key {top!r}, and nothing reads one; {way}'
            )


def places_like(cfg: Config, key: str) -> list[str]:
    """Dotted keys that are read and end as a key does: 'train_cfg.max_epochs' for 'max_epochs'."""
    return [place for place, _ in _read_nodes(cfg) if place.endswith(f'.{key}')]


def is_in_use(cfg: Config, name: str) -> bool:
    """Whether the value of a variable of the file stands where it is read.

    Keys of that name decide if there are any, since a number such as 2 stands in many places.
    """
    places = places_like(cfg, name) or _places_with(cfg, name, '')
    return any(value_at(cfg, place) == cfg[name] for place in places)


def value_at(cfg: Any, key: str) -> Any:
    """The value at a dotted key, or None."""
    node = cfg
    for part in key.split('.'):
        if isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, (dict, Config)) and part in node:
            node = node[part]
        else:
            return None
    return node


def _places_with(cfg: Config, top: str, rest: str) -> Iterator[str]:
    """Keys that are read and have the value of a variable of the file; ``rest`` is within it."""
    for place, value in _read_nodes(cfg) if top in cfg else ():
        if type(value) is type(cfg[top]) and value == cfg[top]:
            yield f'{place}.{rest}' if rest else place


def _read_nodes(cfg: Config) -> Iterator[tuple[str, Any]]:
    for name in cfg:
        if name in READ:
            yield from _nodes(cfg[name], name)


def _nodes(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    yield path, node
    if isinstance(node, Mapping):
        items: Any = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        return
    for key, inner in items:
        yield from _nodes(inner, f'{path}.{key}')


def _has_own_code(cfg: Config) -> bool:
    """Whether there is code that may read any key: modules which the configuration imports."""
    imports = (cfg.get('custom_imports') or {}).get('imports') or ()
    names = [imports] if isinstance(imports, str) else imports
    return any(name.partition('.')[0] != 'dn_mmdet' for name in names)
