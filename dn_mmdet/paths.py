"""Where the configurations and tools of this installation lie.

``python -m dn_mmdet.paths configs`` and ``... tools`` print them, for use from another repository.
"""

import sys
from pathlib import Path

__all__ = ['configs_root', 'tools_root']

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent


def configs_root() -> Path:
    """Folder of the configurations: in the wheel, else of the source tree."""
    return _find('configs')


def tools_root() -> Path:
    """Folder of the command-line tools: in the wheel, else of the source tree."""
    return _find('tools')


def _find(name: str) -> Path:
    for root in (PACKAGE / '.mim', ROOT):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f'this installation of dn_mmdet has no {name}: reinstall it')


if __name__ == '__main__':
    if sys.argv[1:] not in (['configs'], ['tools']):
        sys.exit('usage: python -m dn_mmdet.paths configs|tools')
    print(_find(sys.argv[1]))
