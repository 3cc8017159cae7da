"""The development kit's table of synsets, meta.mat."""

from pathlib import Path

from dn_mmdet.engine.errors import UserError

__all__ = ['read_devkit_synsets']


def read_devkit_synsets(ground_truth: Path) -> dict[str, str]:
    """Read which synset each ILSVRC2012_ID stands for.

    Args:
        ground_truth (Path): The devkit's ground truth; ``meta.mat`` lies beside it, in ``data/``,
            or in the devkit's own folder.

    Returns:
        dict[str, str]: ILSVRC2012_ID, as text, to synset id.

    Raises:
        UserError: There is no ``meta.mat``, or it is none of ILSVRC-2012's.
    """
    places = ('', 'data/', 'devkit/data/', 'ILSVRC2012_devkit_t12/data/')
    paths = [ground_truth.parent / f'{place}meta.mat' for place in places]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UserError(
            f'{ground_truth} numbers the classes as the devkit does, and its table '
            f'{paths[0]} is missing; put meta.mat of ILSVRC2012_devkit_t12 there.'
        )
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UserError(
            f'{path} is a MATLAB file, which SciPy reads; install it with "pip install scipy".'
        ) from error
    try:
        synsets = loadmat(path, squeeze_me=True)['synsets']
        return {
            str(int(number)): str(synset)
            for number, synset in zip(synsets['ILSVRC2012_ID'], synsets['WNID'], strict=True)
        }
    # loadmat raises what its readers happen to, IndexError and struct.error among them.
    except Exception as error:
        raise UserError(
            f'{path} is not the meta.mat of ILSVRC2012_devkit_t12, or is cut off '
            f'({type(error).__name__}); unpack the devkit again.'
        ) from error
