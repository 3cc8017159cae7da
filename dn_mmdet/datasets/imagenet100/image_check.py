"""Looking at every image once, in a way that can be interrupted."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from dn_mmdet.engine.atomic import atomic_write
from dn_mmdet.engine.check_images import THREADS, image_problem

__all__ = ['find_bad_images']


def find_bad_images(
    root: Path, groups: Mapping[str, Sequence[str]], progress: Path
) -> dict[str, str]:
    """Find the images that are missing or broken.

    Each finished group is kept in ``progress``; after an interrupt the same call goes on from
    there, and of the finished groups it looks only at what was bad again, since it may have been
    mended. A group whose list of names has changed begins anew.

    Args:
        root (Path): Folder that the names are relative to.
        groups (Mapping[str, Sequence[str]]): Image names, in groups of some hundreds.
        progress (Path): File that keeps the finished groups; the caller removes it.

    Returns:
        dict[str, str]: Name of each bad image to 'missing' or 'broken'; see ``image_problem``.

    Raises:
        KeyboardInterrupt: With a message that says how far it is.
    """
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
                bad = {name: problem for name, problem in zip(look, found, strict=True) if problem}
                done[key] = {'names': digests[key], 'bad': bad}
                if before is None:
                    bar.update(len(look))
                    _write(progress, root, done)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f'the images of {len(done)} of {len(groups)} class folders are '
                'checked; the same command goes on from there'
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
    with atomic_write(progress) as file:
        file.write(json.dumps({'root': str(root.resolve()), 'groups': groups}).encode())
