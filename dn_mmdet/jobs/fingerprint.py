"""What decides the result of a training, as a hash."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import Config

__all__ = ['data_files', 'fingerprint']

# What the builder of the embedded data leaves beside it; its crops have no annotation file.
DATA_STAMP = 'digits.json'


def fingerprint(config: Config, seed: int, before: Sequence[dict] = ()) -> dict:
    """Configuration, seed, data and the runs before, in a form that can be kept and compared.

    Args:
        config (Config): complete.
        seed (int): of ``randomness``.
        before (Sequence[dict]): fingerprints of the runs that it starts from. Default: ().

    Returns:
        dict: ``seed`` and ``sha256``.
    """
    found = hashlib.sha256(
        json.dumps([config.to_dict(), seed, list(before)], sort_keys=True, default=str).encode()
    )
    for file in data_files(config):
        found.update(file.read_bytes())
    return dict(seed=seed, sha256=found.hexdigest())


def data_files(config: Config) -> list[Path]:
    """Files that stand for the data that a configuration trains and evaluates on.

    Returns:
        list[Path]: annotation files, and the stamp of embedded data; those that are there.
    """
    files = []
    for loader in ('train_dataloader', 'val_dataloader'):
        for dataset in _datasets((config.get(loader) or {}).get('dataset')):
            root = Path(dataset.get('data_root') or '')
            files += [root / dataset['ann_file']] if dataset.get('ann_file') else []
            files += [folder / DATA_STAMP for folder in (root, *root.parents)]
    return sorted({file for file in files if file.is_file()})


def _datasets(node) -> Iterator[dict]:
    """Every dataset in a dataset that may wrap or join others."""
    if isinstance(node, dict):
        if 'data_root' in node or 'ann_file' in node:
            yield node
        node = [node.get('dataset'), *(node.get('datasets') or [])]
    for inner in node if isinstance(node, (list, tuple)) else ():
        yield from _datasets(inner)
