"""Which revision of this repository a run is made with."""

import subprocess
from pathlib import Path

__all__ = ['git_revision']

ROOT = Path(__file__).resolve().parents[2]


def git_revision(root: Path = ROOT) -> str:
    """The commit that a source tree is at.

    Args:
        root (Path): top folder of the tree. Default: that of this installation.

    Returns:
        str: the hash, with '-dirty' where tracked files have changes; 'unknown' where the folder
        is not the top of a git tree, as in site-packages, or git is not installed.
    """
    try:
        # A package in an environment inside another repository is not of that repository.
        if Path(_git(root, 'rev-parse', '--show-toplevel')).resolve() != Path(root).resolve():
            return 'unknown'
        return _git(root, 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*')
    except (OSError, subprocess.SubprocessError):
        return 'unknown'


def _git(root, *arguments):
    return subprocess.run(
        ['git', '-C', str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
    ).stdout.strip()
