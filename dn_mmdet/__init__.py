"""Dynamic Normalization for MMDetection.

Importing the package registers what it holds: the norm layers `DNB`, `DNC`, `DNGN`, `DNIN`,
`DNLN` and `SEBN` in mmengine's root registry, so that `norm_cfg=dict(type='DNB')` is found from
every OpenMMLab repository, and, where mmdet is installed, the backbones, heads, classifiers, hooks
and data sets. In a configuration file: `custom_imports = dict(imports=['dn_mmdet'])`.

Without any OpenMMLab package the layers and their operators (`dn_mmdet.ops`) work with torch
alone, which is imported when the first of them is asked for.
"""

from typing import TYPE_CHECKING

from .utils.python_version import check_python

check_python()  # What follows needs a supported one.

from .utils.versions import check_versions, installed_version  # noqa: E402
from .version import __version__  # noqa: E402

if TYPE_CHECKING:
    from .layers import (
        DNB,
        DNC,
        DNGN,
        DNIN,
        DNLN,
        SEBN,
        convert_batchnorm,
        fuse_conv_dnb,
        revert_to_batchnorm,
    )

__all__ = [
    'DNB',
    'DNC',
    'DNGN',
    'DNIN',
    'DNLN',
    'SEBN',
    '__version__',
    'convert_batchnorm',
    'fuse_conv_dnb',
    'revert_to_batchnorm',
]

check_versions()

if installed_version('mmengine'):
    from . import registration  # noqa: F401


def __getattr__(name: str) -> object:
    """What is not imported before it is asked for."""
    if name in __all__:
        from . import layers

        return getattr(layers, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
