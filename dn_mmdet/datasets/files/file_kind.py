"""What a file is that is not what it should be: named by its first bytes, with what to do."""

from __future__ import annotations

import codecs
import json
import re

__all__ = ['decoded', 'other_kind', 'shown']

AGAIN = 'download or export it again'
# First bytes, what they are the sign of, and what to do.
SIGNATURES = (
    (b'\x1f\x8b', 'a gzip archive', 'unpack it, for example with gunzip, and give what is in it'),
    (b'PK\x03\x04', 'a ZIP archive', 'unpack it, and give what is in it'),
    (b'PK\x05\x06', 'an empty ZIP archive', AGAIN),
    (b'BZh', 'a bzip2 archive', 'unpack it, and give what is in it'),
    (b'\xfd7zXZ\0', 'an xz archive', 'unpack it, and give what is in it'),
    (b'\x28\xb5\x2f\xfd', 'a Zstandard archive', 'unpack it, and give what is in it'),
    (b'7z\xbc\xaf\x27\x1c', 'a 7-Zip archive', 'unpack it, and give what is in it'),
    (b'Rar!', 'a RAR archive', 'unpack it, and give what is in it'),
    (b'version https://git-lfs', 'a Git LFS pointer', 'run "git lfs pull" in its repository'),
    (b'\xff\xd8\xff', 'a JPEG image', 'give the annotation file'),
    (b'\x89PNG', 'a PNG image', 'give the annotation file'),
    (b'%PDF', 'a PDF document', 'give the annotation file'),
    (b'PAR1', 'a Parquet file', 'export the annotations again'),
    (b'\x89HDF', 'an HDF5 file', 'export the annotations again'),
    (b'SQLite format 3', 'an SQLite database', 'export the annotations again'),
    (b'\x80\x02', 'a pickle file', 'export the annotations again'),
    (b'\x80\x03', 'a pickle file', 'export the annotations again'),
    (b'\x80\x04', 'a pickle file', 'export the annotations again'),
    (b'\x80\x05', 'a pickle file', 'export the annotations again'),
)
# How a text begins, white space aside and in lower case.
BEGINNINGS = (
    (
        r'<!doctype html|<html|<head',
        'an HTML page',
        'download the file itself, perhaps after login',
    ),
    (
        r'<\?xml|<annotation|<error',
        'an XML file',
        'for Pascal VOC annotations, set type=XMLDataset; otherwise, export or download it again',
    ),
    (r"[{\[]\s*(\{\s*)?'", 'Python text with single quotes', 'write it with json.dump'),
    (
        r'\d+( [\d.]+){4}\s',
        'a YOLO label file',
        'convert the labels to one COCO file, with boxes in pixels',
    ),
    (r'(nc|names|train|val|path)\s*:', 'a YAML file', 'give the annotation file'),
)
# A longer beginning says nothing more.
HEAD = 2**16


def other_kind(data: bytes) -> tuple[str, str] | None:
    """Name what a file is that cannot be read as what it should be.

    Args:
        data (bytes): The file, or its first 512 bytes or more.

    Returns:
        tuple[str, str] | None: What it is, as 'a gzip archive', and what to do about it; None if
        it is not known.
    """
    head = data[:HEAD].removeprefix(codecs.BOM_UTF8)
    if not head.strip():
        return 'empty', AGAIN
    if not head.strip(b'\0'):
        return 'nothing but zero bytes', AGAIN
    for start, kind, remedy in SIGNATURES:
        if head.startswith(start):
            return kind, remedy
    if head[257:262] == b'ustar':
        return 'a tar archive', 'unpack it, and give what is in it'
    text = head.decode('utf-8', 'replace').lstrip().lower()
    for pattern, kind, remedy in BEGINNINGS:
        if re.match(pattern, text):
            return kind, remedy
    return None


def decoded(data: bytes) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Args:
        data (bytes): The whole file.

    Returns:
        str: The text, without the mark.

    Raises:
        UnicodeDecodeError: It is in no such encoding.
    """
    return data.decode(json.detect_encoding(data))


def shown(value: object, limit: int = 60) -> str:
    """A value of a file for a message: its repr, cut off where it is long.

    Args:
        value (object): Whatever a file may hold.
        limit (int): Characters that are kept. Defaults to 60.

    Returns:
        str: The repr.
    """
    text = repr(value)
    return text if len(text) <= limit else f'{text[:limit]}...'
