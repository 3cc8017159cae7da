"""Make the whole data set, or find that it is there."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from dn_mmdet.engine.errors import UserError

from .contact_sheet import check_picture_name, draw_contact_sheet
from .glyphs import load_glyphs
from .photographs import load_photographs
from .spec import DigitsSpec
from .stamp import check_folder, write_stamp
from .whole_folder import whole_folder
from .writers import write_crops, write_scenes

__all__ = ['build_digits_coco']


def build_digits_coco(
    out: str | Path,
    spec: DigitsSpec | None = None,
    force: bool = False,
    preview: str | Path | None = None,
) -> dict:
    """Write the digits as COCO, and single-digit crops in the ImageNet folder layout.

    The folder appears under its name when it is complete, and not before: ``annotations/
    instances_{train,val}2017.json``, ``{train,val}2017/*.jpg``, ``crops/{train,val}/{0..9}/*.jpg``
    and the stamp ``digits.json``. Validation has its own digits and photographs. Equal arguments
    give equal bytes (with equal versions of the packages in the stamp). A folder that already
    holds what is asked for is left as it is.

    Args:
        out (str | Path): Folder to make.
        spec (DigitsSpec | None): What to make. Default None: ``DigitsSpec()``.
        force (bool): Replace a data set that this tool made. Default False.
        preview (str | Path | None): Picture file for a contact sheet. Default None: no picture.

    Returns:
        dict: The stamp: ``recipe``, ``arguments``, ``versions`` and ``counts``.

    Raises:
        UserError: The folder is in the way or cannot be written, or a package is missing.
    """
    spec = spec or DigitsSpec()
    # A link stays a link: what it points to is replaced.
    folder = Path(out).resolve()
    if preview is not None:
        check_picture_name(Path(preview))
    with _readable('write', out, '--out'):
        stamp = check_folder(folder, spec, force)
        found = stamp is not None
        if not found:
            stamp = _make(folder, spec)
    print(f'{out} is {"complete" if found else "made"}: {_summary(stamp["counts"])}.')
    if preview is not None:
        with _readable('draw', preview, '--preview'):
            draw_contact_sheet(folder, preview)
        print(f'A contact sheet is in {preview}.')
    return stamp


def _make(out: Path, spec: DigitsSpec) -> dict:
    glyphs, photographs = load_glyphs(), load_photographs()
    total = spec.train + spec.val + spec.crops_train + spec.crops_val
    counts = {}
    # The bar is drawn on a terminal only: a log file keeps the summary.
    with (
        whole_folder(out) as folder,
        tqdm(total=total, desc='digits', unit='image', disable=None) as bar,
    ):
        for split in ('train', 'val'):
            source = glyphs[split], photographs[split]
            counts[split] = write_scenes(folder, split, spec, *source, bar.update)
            counts[f'crops_{split}'] = write_crops(folder, split, spec, *source, bar.update)
        return write_stamp(folder, spec, counts)


@contextmanager
def _readable(action: str, place: str | Path, argument: str) -> Iterator[None]:
    """Turn what the operating system refuses into a sentence about the place the user named."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f'Cannot {action} {place}: {error.strerror or error}; mend that, or choose '
            f'another place with {argument}.'
        ) from error


def _summary(counts: dict) -> str:
    scenes = ', '.join(
        f'{c["images"]} images for {split} ({c["digits"]} digits: {c["small"]} small, '
        f'{c["medium"]} medium, {c["large"]} large; {c["empty"]} images empty)'
        for split, c in ((split, counts[split]) for split in ('train', 'val'))
    )
    return f'{scenes}, {counts["crops_train"]} and {counts["crops_val"]} crops'
