"""Make the lists of ImageNet-100, or find that they are there."""

import hashlib
import sys
from collections import Counter
from pathlib import Path

from dn_mmdet.engine.check_images import some
from dn_mmdet.engine.errors import UserError

from .image_check import find_bad_images
from .lists import make_lists, write_lists
from .summary import NAME, PROGRESS, check_out, write_summary
from .synsets import SHIPPED, read_classes
from .tree import find_images

__all__ = ['build_imagenet100']


def build_imagenet100(
    root: str | Path,
    out: str | Path = 'data/imagenet100',
    classes: str | Path | None = None,
    val_list: str | Path | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    strict: bool = False,
    force: bool = False,
) -> dict:
    """Write annotation lists of 100 classes of ILSVRC-2012; no image is copied.

    ``train.txt`` and ``val.txt`` share the classes' training images, ``test.txt`` has their
    original validation images (Sec. 4.1 of the paper, which does not publish its 100 classes):
    each line is a path relative to ``root`` and a label, the place in ``classes.txt``.
    ``imagenet100.json`` holds the arguments, the counts, and every image that was left out since
    it is missing or broken. Lists that are already there are left as they are.

    Args:
        root (str | Path): Folder of ILSVRC-2012; see :func:`find_images`.
        out (str | Path): Folder for the lists. Default ``'data/imagenet100'``.
        classes (str | Path | None): A class list. Default None: the one that is shipped.
        val_list (str | Path | None): Labels of the validation images. Default None: looked for.
        val_share (float): Share of each class's training images that is val. Default 0.2.
        seed (int): Seed of that draw, which each class makes on its own. Default 0.
        strict (bool): End with an error if an image was left out, with the lists written.
        force (bool): Make lists anew that this tool made.

    Returns:
        dict: The content of ``imagenet100.json``.

    Raises:
        UserError: Something is missing, does not fit or is in the way.
        KeyboardInterrupt: From the check of the images, which the next call continues.
    """
    root, out = Path(root), Path(out)
    if not 0 < val_share < 1:
        raise UserError(f'--val-share is {val_share}; it must lie between 0 and 1.')
    names = read_classes(Path(classes or SHIPPED))
    arguments = {
        'root': str(root.resolve()),
        'classes': f'{len(names)} synsets, SHA-256 {_digest(names)}',
        'val_list': val_list and str(Path(val_list).resolve()),
        'val_share': val_share,
        'seed': seed,
    }
    try:
        summary = check_out(out, arguments, force)
        found = summary is not None
        if not found:
            summary = _make(root, out, names, val_list and Path(val_list), arguments)
    except OSError as error:
        raise UserError(
            f'{error.filename or out}: {error.strerror or error}; mend that, or choose '
            'another folder.'
        ) from error
    images = ', '.join(
        f'{sum(counts.values())} images for {split}' for split, counts in summary['counts'].items()
    )
    print(f'{out} is {"complete" if found else "made"}: {len(names)} classes, {images}.')
    _report(out, summary['bad_images'], strict)
    return summary


def _digest(names: list[str]) -> str:
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:8]


def _make(root: Path, out: Path, names: list[str], val_list: Path | None, arguments: dict) -> dict:
    images = find_images(root, names, val_list)
    out.mkdir(parents=True, exist_ok=True)
    groups = {f'{split}/{name}': images[split][name] for split in images for name in names}
    bad = find_bad_images(root, groups, out / PROGRESS)
    lists = make_lists(images, bad, arguments['val_share'], arguments['seed'])
    # Without its summary a folder is not complete, should this be interrupted half-way.
    (out / NAME).unlink(missing_ok=True)
    write_lists(out, lists)
    summary = {
        'arguments': arguments,
        'counts': {
            split: {name: len(paths) for name, paths in lists[split].items()} for split in lists
        },
        'bad_images': [{'image': name, 'problem': problem} for name, problem in bad.items()],
    }
    write_summary(out, summary)
    return summary


def _report(out: Path, bad: list[dict], strict: bool) -> None:
    if not bad:
        return
    kinds = ', '.join(
        f'{number} {kind}' for kind, number in sorted(Counter(b['problem'] for b in bad).items())
    )
    text = (
        f'{len(bad)} images are left out of the lists in {out} ({kinds}): '
        f'{some(b["image"] for b in bad)}; all are named in {out / NAME} under "bad_images". '
        'Unpack or download them again, then run this with --force'
    )
    if strict:
        raise UserError(f'{text}.')
    print(f'warning: {text}, or go on without them.', file=sys.stderr)
