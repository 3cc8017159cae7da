"""Two things that the metadata in setup.cfg cannot say.

The configurations and tools go into the wheel where OpenMMLab packages keep them, .mim/; and the
operators are built in C++ where torch and a compiler are there. Without either the package
installs all the same, and its operators run on PyTorch's own.
"""

import re
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError as error:
    BuildExtension, no_torch = build_ext, error

ROOT = Path(__file__).resolve().parent
SOURCES = 'dn_mmdet/ops/csrc'


class BuildWithConfigsAndTools(build_py):
    """build_py that also copies the configurations, tools, model index and checkpoints' README."""

    def run(self):
        """Build, then copy; an editable install reads the source tree instead."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'dn_mmdet' / '.mim'
        # What an earlier build left here may be gone from the tree.
        shutil.rmtree(target, ignore_errors=True)
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
        for name in ('configs', 'tools'):
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
        (target / 'checkpoints').mkdir()
        for name in ('model-index.yml', 'checkpoints/README.md'):
            shutil.copy2(ROOT / name, target / name)


class BuildOperators(BuildExtension):
    """build_ext that a missing compiler does not stop; a failed one is warned of by setuptools."""

    def __init__(self, *args, **kwargs):
        # ninja brings nothing to one source, and its errors would not count as those of the
        # compiler. The library has torch's interface alone: one serves every version of Python.
        super().__init__(*args, **kwargs, use_ninja=False, no_python_abi_suffix=True)

    def run(self):
        """Build, or say why not."""
        try:
            super().run()
        except Exception as error:  # Whatever a foreign compiler or torch makes of it.
            _tell(error)
        if not all(Path(self.get_ext_fullpath(e.name)).is_file() for e in self.extensions):
            # A wheel without the library is for every machine, and its name is to say so.
            self.distribution.ext_modules = None
            if wheel := self.distribution.command_obj.get('bdist_wheel'):
                wheel.root_is_pure = True


def _operators():
    if BuildExtension is build_ext:
        _tell(no_torch)
        return {}
    extension = CppExtension(
        # Environments of several versions of torch may share this tree.
        'dn_mmdet.ops.backends._cpp_' + '_'.join(re.findall('[0-9]+', torch.__version__)[:3]),
        [f'{SOURCES}/{name}.cpp' for name in ('evaluate', 'layer', 'library', 'planes', 'sc')],
        depends=[
            f'{SOURCES}/{name}.h'
            for name in ('kernels', 'maps', 'numbers', 'operators', 'passes', 'sc')
        ],
        extra_compile_args=[
            *('-O3', '-g0', '-fopenmp', '-fvisibility=hidden'),
            # Without contraction every instruction set rounds alike.
            *('-fno-math-errno', '-fno-trapping-math', '-ffp-contract=off'),
            # No vector is passed to another source.
            *('-Wno-ignored-attributes', '-Wno-psabi'),
        ],
        extra_link_args=['-fopenmp'],
        py_limited_api=True,
        optional=True,
    )
    return {
        'ext_modules': [extension],
        'cmdclass': {'build_ext': BuildOperators},
        'options': {'bdist_wheel': {'py_limited_api': 'cp39'}},
    }


def _tell(reason):
    print(f'dn_mmdet: the C++ operators are not built: {reason}', file=sys.stderr)


operators = _operators()
operators.setdefault('cmdclass', {})['build_py'] = BuildWithConfigsAndTools
setup(**operators)
