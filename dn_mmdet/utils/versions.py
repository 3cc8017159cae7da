"""Which torch and OpenMMLab packages dn_mmdet runs on, checked when it is imported.

The ranges are those of setup.cfg, the packages' of its extras `mmdet` and `fork`; a test holds the
two together.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.specifiers import SpecifierSet

from .text import error_text

__all__ = [
    'SUPPORTED_VERSIONS',
    'check_mmcv_operators',
    'check_versions',
    'git_revision',
    'installed_version',
]

ROOT = Path(__file__).resolve().parents[2]

# Import name -> supported ranges: OpenMMLab's own releases first, then those of the maintained
# fork (onedl-*), which keeps the import names.
SUPPORTED_VERSIONS = {
    'torch': ('>=2.1',),
    'mmengine': ('>=0.10.3,<0.11',),
    'mmcv': ('>=2.0.0,<2.2.0', '>=2.3.6,<2.4.0'),
    'mmdet': ('>=3.3.0,<3.4.0', '>=3.5.1,<3.6.0'),
}


def check_versions(versions: Mapping[str, str | None] | None = None) -> None:
    """Refuse torch or an OpenMMLab package of an unsupported version.

    A package that is not installed is not an error here: the layers work with torch alone.

    Args:
        versions (Mapping[str, str | None], optional): Import name to version. Defaults to what
            :func:`installed_version` finds.

    Raises:
        ImportError: One is outside :data:`SUPPORTED_VERSIONS`; says in one sentence what to do.
    """
    for name, ranges in SUPPORTED_VERSIONS.items():
        found = installed_version(name) if versions is None else versions.get(name)
        if found is None or any(SpecifierSet(r).contains(found, prereleases=True) for r in ranges):
            continue
        isolation = ' --no-build-isolation' if name == 'mmcv' else ''
        raise ImportError(
            f'dn_mmdet supports {name} {" or ".join(ranges)}, but {found} is installed: run '
            f'`pip install{isolation} "{name}{ranges[0]}"` in this environment.'
        )


def check_mmcv_operators() -> None:
    """Refuse an mmcv whose compiled operators cannot be imported; mmdet cannot be without them.

    pip builds mmcv without them where torch is not there yet, or where it is hidden by an isolated
    build; and those that were built against another torch do not load.

    Raises:
        ImportError: Says in one sentence what is wrong with them and how to build them.
    """
    try:
        import_module('mmcv._ext')
    except ImportError as error:
        version = installed_version('mmcv')
        reason = (
            'was installed without its operators'
            if isinstance(error, ModuleNotFoundError)
            else f'has operators that do not fit the torch that is installed ({error_text(error)})'
        )
        official = SpecifierSet(SUPPORTED_VERSIONS['mmcv'][0]).contains(version)
        raise ImportError(
            f'mmcv {version} {reason}, and mmdet needs them: build them against that torch with '
            '`MMCV_WITH_OPS=1 pip install --no-build-isolation --no-cache-dir --no-deps '
            f'--force-reinstall "{"mmcv" if official else "onedl-mmcv"}=={version}"`.'
        ) from error


def installed_version(name: str) -> str | None:
    """The version of torch or an OpenMMLab package, or None where it is not installed.

    Read as text from its version.py: importing mmdet next to a wrong mmcv fails before we could
    say what to do.

    Args:
        name (str): Import name of the package.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    for folder in spec.submodule_search_locations:
        file = Path(folder) / 'version.py'
        text = file.read_text(encoding='utf-8') if file.is_file() else ''
        if found := re.search(r"^__version__\s*=\s*['\"]([^'\"]+)", text, re.MULTILINE):
            return found.group(1)
        # The fork's file asks for the version of the distribution that it names.
        if found := re.search(r"\bversion\(['\"]([^'\"]+)", text):
            return metadata.version(found.group(1))
    return None


def git_revision(root: Path = ROOT) -> str:
    """The commit that a source tree is at.

    Args:
        root (Path): Top folder of the tree. Defaults to that of this installation.

    Returns:
        str: The hash, with '-dirty' where tracked files have changes; 'unknown' where the folder
        is not the top of a git tree, as in site-packages, or git is not installed.
    """
    try:
        # A package in an environment inside another repository is not of that repository.
        if Path(_git(root, 'rev-parse', '--show-toplevel')).resolve() != Path(root).resolve():
            return 'unknown'
        return _git(root, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*')
    except (OSError, subprocess.SubprocessError):
        return 'unknown'


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ['git', '-C', str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
    ).stdout.strip()
