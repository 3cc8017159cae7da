"""The norm of a configuration as the paper's tables name it."""

import inspect
from typing import NamedTuple

from .. import layers

__all__ = ['Module', 'module_of']

NAMES = {
    'SyncBN': 'BN',
    'BN2d': 'BN',
    'BN': 'BN',
    'SEBN': 'SE + BN',
    'DNB': 'DN-B',
    'DNC': 'DN-C',
    'GN': 'GN',
    'IN': 'IN',
    'LN': 'LN',
}


class Module(NamedTuple):
    """First columns of the paper's Table 5.

    Attributes:
        name (str): 'BN', 'DN-B' ...; what has no other name is called as its ``type``.
        r (str): reduction ratio; '' where it has none.
        g (str): channels of a group; '' where it has none.
        details (str): further keys of the norm that are not at their default.
    """

    name: str
    r: str = ''
    g: str = ''
    details: str = ''

    @property
    def arguments(self):
        """' (r, g)', '' without any."""
        found = ', '.join(filter(None, (self.r, self.g)))
        return f' ({found})' if found else ''

    def __str__(self):
        return ', '.join(filter(None, (self.name + self.arguments, self.details)))


def module_of(config):
    """The norm of the backbone, or of a model without one.

    Args:
        config (dict): from :func:`dn_mmdet.compare.config_dict.parse_config`.

    Returns:
        Module: BN where the configuration names no norm, as the backbones of mmdet have it.
    """
    model = config.get('model')
    while (
        isinstance(model, dict)
        and 'backbone' not in model
        and isinstance(model.get('module') or model.get('detector'), dict)
    ):
        model = model.get('module') or model.get('detector')
    backbone = model.get('backbone') if isinstance(model, dict) else None
    norm = (backbone if isinstance(backbone, dict) else model or {}).get('norm_cfg')
    norm = norm if isinstance(norm, dict) else dict(type='BN')
    kind = str(norm.get('type', 'BN')).split('.')[-1]
    layer = getattr(layers, kind, None)
    defaults = (
        {}
        if layer is None
        else {
            name: parameter.default
            for name, parameter in inspect.signature(layer).parameters.items()
        }
    )
    values = {key: norm.get(key, defaults.get(key)) for key in ('r', 'g')}
    details = [
        f'{key}={norm[key]}'
        for key in ('start', 'fuse', 'sc_input', 'detach_gap', 'num_groups')
        if key in norm and norm[key] != defaults.get(key)
    ]
    if kind == 'DNC':
        details = [
            f'after {str(norm.get("fuse", defaults["fuse"])).upper()}',
            *(detail for detail in details if not detail.startswith('fuse')),
        ]
    return Module(
        NAMES.get(kind, kind),
        *('' if value is None else str(value) for value in values.values()),
        ', '.join(details),
    )
