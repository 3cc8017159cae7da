"""The text of a configuration in a checkpoint: read without running it, and freed of its machine.

mmengine turns such a text into a Config by executing it, which a file from elsewhere must not get.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from typing import Any

from ..utils.python39 import zip_strict

__all__ = [
    'evaluation_data',
    'literal',
    'loader_data',
    'portable_config',
    'portable_path',
    'statements',
]

# What belongs to the run and not to the model: where it wrote, what started it.
RUN_KEYS = ('work_dir', 'load_from', 'resume', 'launcher')


def portable_config(text: str) -> str:
    """Remove the keys of the run and every absolute path from the text of a configuration.

    Args:
        text (str): ``Config.pretty_text``.

    Returns:
        str: Without :data:`RUN_KEYS`. A path below the current folder is relative to it; of
        another absolute path the last part stays, and what lies below it keeps its place there.
    """
    text = re.sub(rf'^(?:{"|".join(RUN_KEYS)}) = .*\n', '', text, flags=re.MULTILINE)
    known: dict[str, str] = {}
    # Short ones first: the folder of the data before the files in it.
    for path in sorted(
        set(re.findall(r"""['"]((?:/|~|[A-Za-z]:[\\/])[^'"\n]*)['"]""", text)), key=len
    ):
        parent = max(
            (p for p in known if path.startswith(p.rstrip('/') + '/')), key=len, default=None
        )
        known[path] = (
            portable_path(path)
            if parent is None
            else known[parent].rstrip('/') + path[len(parent.rstrip('/')) :]
        )
    for path in sorted(known, key=len, reverse=True):
        for quote in '\'"':
            text = text.replace(f'{quote}{path}{quote}', f'{quote}{known[path]}{quote}')
    return text


def portable_path(path: str) -> str:
    """A path without what is above the current folder, or else its last part alone."""
    if not re.match(r'/|~|[A-Za-z]:[\\/]', path):
        return path
    below = os.path.relpath(path, os.getcwd())
    end = '/' if path.endswith('/') else ''
    if path.startswith('/') and not below.startswith('..'):
        return below + end
    return re.split(r'[\\/]', path.rstrip('/\\'))[-1] + end


def evaluation_data(text: str) -> str | None:
    """Where the data lie that a configuration evaluates on, as its text has it, or None."""
    try:
        return loader_data(
            next(
                literal(node.value)
                for node in statements(text)
                if isinstance(node, ast.Assign)
                and getattr(node.targets[0], 'id', '') == 'val_dataloader'
            )
        )
    except (StopIteration, SyntaxError, ValueError):
        return None


def statements(text: str) -> list[ast.stmt]:
    """The statements of a configuration's text.

    Raises:
        SyntaxError: It is not Python, or nested deeper than Python reads.
    """
    try:
        return ast.parse(text).body
    except (ValueError, MemoryError, RecursionError) as error:
        # A null byte, as a power cut leaves them; or many brackets.
        raise SyntaxError(str(error) or 'it is nested too deep') from error


def loader_data(loader: Any) -> str | None:
    """Where the data of a data loader's configuration lie: annotation file or folder, or None."""
    try:
        dataset = loader['dataset']
        while 'dataset' in dataset:
            dataset = dataset['dataset']
        part = dataset.get('ann_file') or next(iter(dataset.get('data_prefix', {}).values()), '')
        return os.path.join(dataset.get('data_root') or '', part) or None
    except (TypeError, KeyError, AttributeError):
        return None


def literal(
    node: ast.expr,
    otherwise: Callable[[ast.expr], Any] | None = None,
    keep_tuples: bool = False,
) -> Any:
    """The value of nested ``dict(...)`` calls and literals.

    Args:
        node (ast.expr): An expression of a configuration's text.
        otherwise (Callable, optional): Gives the value of what is neither. Defaults to none.
        keep_tuples (bool): Whether tuples stay tuples, as classes that are built from the value
            may ask for; lists in their place are easier to compare. Defaults to False.

    Returns:
        Any: Its value; nothing is run.

    Raises:
        ValueError: It holds anything else, and there is no ``otherwise``.
    """
    if (
        isinstance(node, ast.Call)
        and getattr(node.func, 'id', '') == 'dict'
        and all(isinstance(part, ast.Dict) for part in node.args)
        and all(keyword.arg for keyword in node.keywords)
    ):
        # Names that are no identifiers stand in a dict inside: dict({'.sc.': 1}).
        inside = [literal(part, otherwise, keep_tuples) for part in node.args]
        if all(isinstance(part, dict) for part in inside):
            return {key: value for part in inside for key, value in part.items()} | {
                keyword.arg: literal(keyword.value, otherwise, keep_tuples)
                for keyword in node.keywords
            }
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [literal(item, otherwise, keep_tuples) for item in node.elts]
        return tuple(items) if keep_tuples and isinstance(node, ast.Tuple) else items
    try:
        if isinstance(node, ast.Dict) and None not in node.keys:
            return {
                literal(key, otherwise, keep_tuples): literal(value, otherwise, keep_tuples)
                for key, value in zip_strict(node.keys, node.values)
            }
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:  # a list may be no key
        if otherwise is None:
            raise ValueError(str(error)) from error
        return otherwise(node)
