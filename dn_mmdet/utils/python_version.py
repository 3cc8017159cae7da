"""Which Python dn_mmdet runs on, checked before anything else is imported.

This file has no syntax that is newer than Python 3.6 and needs no package, so that an interpreter
which cannot read the rest of the package is told why.
"""

import re
import sys

__all__ = ['SUPPORTED_PYTHON', 'check_python']

# As in setup.cfg; a test holds the two together.
SUPPORTED_PYTHON = '>=3.9,<3.13'


def check_python(version: str = '') -> None:
    """Refuse a Python that is not supported.

    Args:
        version (str): The version to judge. Defaults to that of the running interpreter.

    Raises:
        ImportError: It is outside :data:`SUPPORTED_PYTHON`; says in one sentence what to do.
    """
    found = version or '.'.join(map(str, sys.version_info[:3]))
    oldest, first_untried = map(_numbers, SUPPORTED_PYTHON.split(','))
    if not oldest <= _numbers(found) < first_untried:
        raise ImportError(
            f'dn_mmdet needs Python {SUPPORTED_PYTHON}, but this is {found}: create an '
            'environment with a supported version, for example `python3.11 -m venv .venv`.'
        )


def _numbers(version: str) -> list:
    return [int(number) for number in re.findall('[0-9]+', version)]
