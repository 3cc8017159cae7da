"""The kernels of the closed form, a module for each way to run them; see :class:`.kernels.Kernels`.

A new backend is a module that offers what `Kernels` asks for, and a line of the table below.
"""

from . import aten, cpp, triton
from .kernels import Kernels

__all__ = ['KERNELS']

# Path, as `dn_mmdet.ops.use_path` names it, to the module that serves it.
KERNELS: dict[str, Kernels] = {'aten': aten, 'cpp': cpp, 'triton': triton}
