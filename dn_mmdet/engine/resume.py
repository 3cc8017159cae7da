"""Choosing the checkpoint that a run continues from."""

import os
import re

from mmengine.config import Config

from .check_images import some
from .errors import UserError

__all__ = ['choose_resume']


def choose_resume(cfg: Config, resume: str | None) -> None:
    """Set ``resume`` and ``load_from`` of a configuration as ``--resume`` asks.

    For 'auto' the file ``last_checkpoint`` in the work folder names the checkpoint; where that
    path is gone because the folder was moved, the file of the same name in the folder is taken.
    Without ``last_checkpoint`` the run begins at the start, as in mmdet.

    Args:
        cfg (Config): Changed in place; ``work_dir`` is final.
        resume (str, optional): A checkpoint, 'auto', or None to leave the configuration's choice.

    Raises:
        UserError: ``last_checkpoint`` names a file that is gone.
    """
    if resume == 'auto':
        cfg.resume, cfg.load_from = True, None
    elif resume is not None:
        cfg.resume, cfg.load_from = True, resume
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = _latest(cfg.work_dir)
        # Without a checkpoint mmengine would look for one again, by its own rules.
        cfg.resume = cfg.load_from is not None


def _latest(work_dir: str) -> str | None:
    pointer = os.path.join(work_dir, 'last_checkpoint')
    if not os.path.isfile(pointer):
        return None
    with open(pointer, encoding='utf-8') as file:
        path = file.read().strip()
    moved = os.path.join(work_dir, os.path.basename(path)) if path else ''
    for candidate in (path, moved):
        if os.path.isfile(candidate):
            return candidate
    left = sorted(
        (name for name in os.listdir(work_dir) if re.fullmatch(r'\w+_\d+\.pth', name)),
        key=lambda name: int(re.search(r'(\d+)\.pth', name)[1]),
        reverse=True,
    )
    choice = f'one of those in {work_dir}: {some(left)}' if left else 'a checkpoint'
    raise UserError(
        f'{pointer} names the checkpoint {path!r}, which is gone: continue with '
        f'--resume and {choice}, or remove {pointer} to begin anew.'
    )
