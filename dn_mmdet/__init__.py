"""Dynamic Normalization for MMDetection.

Importing the package registers what it holds: the norm layers `DNB`, `DNC` and `SEBN` in
mmengine's root registry, so that `norm_cfg=dict(type='DNB')` is found from every OpenMMLab
repository, and, where mmdet is installed, the backbones, heads, classifiers, hooks and data sets.
In a configuration file: `custom_imports = dict(imports=['dn_mmdet'])`.

Without any OpenMMLab package the layers (`dn_mmdet.layers`) and their operators (`dn_mmdet.ops`)
work with torch alone.
"""

from .utils.versions import check_python, check_versions, installed_version
from .version import __version__

__all__ = ['__version__']

check_python()
check_versions()

if installed_version('mmengine'):
    from . import registration  # noqa: F401
