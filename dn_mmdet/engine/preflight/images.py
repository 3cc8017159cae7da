"""Checking the image files of a data set, as its pipeline loads them."""

from collections.abc import Sequence

from ...datasets.files.images import look_at_images
from .planned import PlannedDataset

__all__ = ['check_image_files']


def check_image_files(
    data: PlannedDataset,
    folder: str,
    names: Sequence[str],
    source: str,
    places: Sequence[str] | None = None,
    sizes: Sequence[tuple[int, int] | None] | None = None,
) -> None:
    """Refuse image files that are missing, broken or of another size than is said of them.

    The files of a folder are opened once for each annotation file that names them, and not at all
    where ``preflight.images=False``.

    Args:
        data (PlannedDataset): Gets what is found, through ``run.refuse`` and ``run.note``.
        folder (str): Folder that the names are relative to.
        names (Sequence[str]): File names, with slashes where there are subfolders.
        source (str): What names them, for the message: an annotation file or a folder.
        places (Sequence[str], optional): Where it names each, as 'line 3', for the message.
        sizes (Sequence, optional): What it says of the width and height of each, in pixels; None
            for an image it says nothing of.

    Raises:
        UserError: In a run, the first that is found.
    """
    if not data.run.switches.images:
        return
    errors, notes = data.run.files.once(
        'images',
        folder,
        source,
        work=lambda: look_at_images(folder, names, source, places, sizes),
    )
    for sentence in notes:
        data.run.note(sentence)
    for sentence in errors:
        data.run.refuse(sentence)
