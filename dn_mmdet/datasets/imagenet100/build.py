"""Make the lists of ImageNet-100, or find that they are there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...utils.errors import UserError
from ...utils.files import remove_leftovers, write_json
from ...utils.python39 import zip_strict
from ...utils.text import first_few
from ..files.images import THREADS, image_problem
from .lists import FILES, SHIPPED, make_lists, read_synsets, write_lists
from .tree import find_class_images

__all__ = ['NAME', 'PROGRESS', 'build_imagenet100', 'check_out', 'find_bad_images', 'write_summary']

NAME = 'imagenet100.json'

PROGRESS = '.imagenet100_check.json'


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
        root (str | Path): Folder of ILSVRC-2012; see ``find_class_images``.
        out (str | Path): Folder for the lists. Defaults to 'data/imagenet100'.
        classes (str | Path, optional): A class list. Defaults to the one that is shipped.
        val_list (str | Path, optional): Labels of the validation images. Defaults to the first
            that is found in the usual places.
        val_share (float): Share of each class's training images that is val. Defaults to 0.2.
        seed (int): Seed of that draw, which each class makes on its own. Defaults to 0.
        strict (bool): End with an error if an image was left out, with the lists written.
            Defaults to False.
        force (bool): Rebuild lists that this tool made. Defaults to False.

    Returns:
        dict: The content of ``imagenet100.json``.

    Raises:
        UserError: Something is missing, does not fit or is in the way.
        KeyboardInterrupt: From the check of the images, which the next call continues.
    """
    root, out = Path(root), Path(out)
    if not 0 < val_share < 1:
        raise UserError(f'--val-share is {val_share}; it must lie between 0 and 1.')
    names = read_synsets(Path(classes or SHIPPED))
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
            f'{error.filename or out}: {error.strerror or error}; fix that, or choose '
            'another folder.'
        ) from error
    images = ', '.join(
        f'{sum(counts.values())} images for {split}' for split, counts in summary['counts'].items()
    )
    print(f'{out} {"is complete" if found else "has been made"}: {len(names)} classes, {images}.')
    _report(out, summary['bad_images'], strict)
    return summary


def _digest(names: list[str]) -> str:
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:8]


def _make(root: Path, out: Path, names: list[str], val_list: Path | None, arguments: dict) -> dict:
    images = find_class_images(root, names, val_list)
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
        f'{first_few(b["image"] for b in bad)}; all are named in {out / NAME} under "bad_images". '
        'Unpack or download them again, then run this with --force'
    )
    if strict:
        raise UserError(f'{text}.')
    print(f'warning: {text}, or continue without them.', file=sys.stderr)


def find_bad_images(
    root: Path, groups: Mapping[str, Sequence[str]], progress: Path
) -> dict[str, str]:
    """Find the images that are missing or broken.

    Each finished group is kept in ``progress``; after an interrupt the same call continues from
    there, and of the finished groups it looks only at what was bad again, since it may have been
    fixed. A group whose list of names has changed starts over.

    Args:
        root (Path): Folder that the names are relative to.
        groups (Mapping[str, Sequence[str]]): Image names, in groups of some hundreds.
        progress (Path): File that keeps the finished groups; the caller removes it.

    Returns:
        dict[str, str]: Name of each bad image to 'missing' or 'broken'; see ``image_problem``.

    Raises:
        KeyboardInterrupt: With a message that says how far it is.
    """
    from tqdm import tqdm

    digests = {
        key: hashlib.sha256('\n'.join(names).encode()).hexdigest() for key, names in groups.items()
    }
    kept = _read(progress, root)
    done = {key: kept[key] for key in groups if key in kept and kept[key]['names'] == digests[key]}
    # A log file gets a line now and then; `initial` leaves what was kept out of the time left.
    with tqdm(
        total=sum(map(len, groups.values())),
        initial=sum(len(groups[key]) for key in done),
        desc='checking images',
        unit='image',
        mininterval=0.5 if sys.stderr.isatty() else 30,
    ) as bar:
        pool = ThreadPoolExecutor(THREADS)
        try:
            for key, names in groups.items():
                before = done.get(key)
                look = list(names if before is None else before['bad'])
                found = pool.map(image_problem, [str(root / name) for name in look])
                bad = {name: problem for name, problem in zip_strict(look, found) if problem}
                done[key] = {'names': digests[key], 'bad': bad}
                if before is None:
                    bar.update(len(look))
                    _write(progress, root, done)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'the images of {len(done)} of {len(groups)} class folders are '
                'checked; the same command continues from there'
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return {name: problem for group in done.values() for name, problem in group['bad'].items()}


def _read(progress: Path, root: Path) -> dict:
    try:
        content = json.loads(progress.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content['groups'] if content['root'] == str(root.resolve()) else {}


def _write(progress: Path, root: Path, groups: Mapping) -> None:
    write_json(progress, {'root': str(root.resolve()), 'groups': groups}, indent=None)


def check_out(out: Path, arguments: Mapping[str, Any], force: bool) -> dict | None:
    """Decide whether ``out`` already holds what is asked for.

    Args:
        out (Path): Folder of the lists.
        arguments (Mapping[str, Any]): What they should be made with.
        force (bool): Whether lists of this tool may be replaced.

    Returns:
        dict | None: The summary of complete lists, or None where they are to be made.

    Raises:
        UserError: ``out`` is a file, holds lists of others, or, without ``force``, lists made with
            other arguments or no longer complete.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'{out} is a file; choose another folder with --out.')
    there = [name for name in FILES if (out / name).exists()]
    if not (out / NAME).exists():
        # The images' folder may be full of lists: a val.txt of Caffe's must survive.
        if there and not (out / PROGRESS).exists():
            raise UserError(
                f'{out / there[0]} was not made by this tool, which would replace it; '
                'choose another folder with --out.'
            )
        return None
    if force:
        return None
    remedy = 'pass --force to rebuild them, or choose another folder with --out.'
    try:
        summary = json.loads((out / NAME).read_text())
        made = summary['arguments']
        changes = [
            f'--{name.replace("_", "-")} {made.get(name)} (asked for: {value})'
            for name, value in arguments.items()
            if made.get(name) != value
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f'{out / NAME} cannot be read, so what the lists next to it contain is unknown; '
            f'{remedy}'
        ) from error
    if changes:
        raise UserError(f'The lists in {out} were made with {", ".join(changes)}; {remedy}')
    if len(there) < len(FILES):
        missing = next(name for name in FILES if name not in there)
        raise UserError(
            f'The lists in {out} are no longer complete ({missing} is missing); {remedy}'
        )
    return summary


def write_summary(out: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary, which says that the lists are whole; the check's progress may go now.

    Args:
        out (Path): Folder of the lists.
        summary (Mapping[str, Any]): See :func:`build_imagenet100`.
    """
    write_json(out / NAME, summary, indent=2)
    (out / PROGRESS).unlink(missing_ok=True)
    remove_leftovers(out, PROGRESS)
