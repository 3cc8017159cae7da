"""What is to be made: the arguments that decide the bytes of the data set."""

from dataclasses import dataclass, fields

from ...utils.errors import UserError

__all__ = ['DigitsSpec']

_LOWEST = {
    'train': 1,
    'val': 1,
    'crops_train': 1,
    'crops_val': 1,
    'image_size': 64,
    'crop_size': 32,
    'seed': 0,
}
# Beyond this an upscaled 8x8 scan shows nothing more and a scene no longer fits in memory.
_HIGHEST = {'image_size': 2048, 'crop_size': 2048}


@dataclass(frozen=True)
class DigitsSpec:
    """Parameters of the embedded data set; equal ones give equal bytes.

    Every image draws from its own random generator, seeded with (seed, split, index), so that the
    first images stay the same when the counts change.

    Args:
        train (int): Scenes for training. Defaults to 3000.
        val (int): Scenes for validation, of held-out digits and photographs. Defaults to 500.
        crops_train (int): Single-digit crops for pretraining. Defaults to 8000.
        crops_val (int): Single-digit crops of held-out digits and photographs. Defaults to 1000.
        image_size (int): Side of the square scenes in pixels, 64 to 2048. Digits scale with it.
            Defaults to 160, which gives boxes of all three COCO sizes.
        crop_size (int): Side of the square crops in pixels, 32 to 2048. Defaults to 80.
        seed (int): Seed of everything but the held-out split, which is always the same.
            Defaults to 0.

    Raises:
        UserError: A value lies outside its range.
    """

    train: int = 3000
    val: int = 500
    crops_train: int = 8000
    crops_val: int = 1000
    image_size: int = 160
    crop_size: int = 80
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            low, high = _LOWEST[name], _HIGHEST.get(name)
            if value < low or (high is not None and value > high):
                bounds = f'at least {low}' if high is None else f'{low} to {high}'
                raise UserError(f'{option(name)} is {value}; it must be {bounds}.')


def option(name: str) -> str:
    """Command-line spelling of a field: ``crops_train`` is ``--crops-train``."""
    return '--' + name.replace('_', '-')
