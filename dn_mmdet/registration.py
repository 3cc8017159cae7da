"""What `import dn_mmdet` registers, by what is installed."""

from mmengine.registry import MODELS

from .engine.checkpoint_file import register_safe_globals
from .layers import DNB, DNC, DNGN, DNIN, DNLN, SEBN
from .utils.versions import check_mmcv_operators, installed_version

__all__ = []

# The root registry: children (mmdet, mmpretrain, mmseg ...) fall back to it, so that one name
# serves all of them. mmcv's build_norm_layer looks there too.
for layer in (DNB, DNC, DNGN, DNIN, DNLN, SEBN):
    MODELS.register_module(name=layer.__name__, module=layer)

register_safe_globals()

if installed_version('mmcv'):
    from . import classification  # noqa: F401

    if installed_version('mmdet'):
        check_mmcv_operators()
        from . import backbones, engine, heads  # noqa: F401
