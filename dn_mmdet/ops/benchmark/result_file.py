"""Results as JSON files that are whole or not there."""

import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ['write_json']


def write_json(file: str | os.PathLike, data: Any) -> None:
    """Write under a temporary name in the same folder, then rename.

    Args:
        file (str | PathLike): Its folder is made if it is not there.
        data (Any): What json can write.
    """
    target = Path(os.path.realpath(file))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.{uuid4().hex[:8]}.tmp')
    try:
        part.write_text(json.dumps(data, indent=1) + '\n', encoding='utf-8')
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
