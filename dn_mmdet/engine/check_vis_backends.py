"""Packages that a visualizer's backends need, looked for before a run."""

from collections.abc import Mapping
from importlib import import_module

from mmengine.config import Config

from .errors import UserError

__all__ = ['check_vis_backends']

# mmengine imports them when the first value is to be written: the module, and what to install.
NEEDED = {
    'TensorboardVisBackend': ('torch.utils.tensorboard', 'tensorboard'),
    'WandbVisBackend': ('wandb', 'wandb'),
    'MLflowVisBackend': ('mlflow', 'mlflow'),
    'ClearMLVisBackend': ('clearml', 'clearml'),
    'NeptuneVisBackend': ('neptune', 'neptune'),
    'DVCLiveVisBackend': ('dvclive', 'dvclive'),
    'AimVisBackend': ('aim', 'aim'),
}


def check_vis_backends(cfg: Config) -> None:
    """Import what the backends in ``visualizer.vis_backends`` need.

    Args:
        cfg (Config): The whole configuration.

    Raises:
        UserError: A package cannot be imported; says how to install it.
    """
    visualizer = cfg.get('visualizer')
    backends = visualizer.get('vis_backends') if isinstance(visualizer, Mapping) else None
    for backend in [backends] if isinstance(backends, Mapping) else backends or ():
        name = backend.get('type') if isinstance(backend, Mapping) else None
        if name not in NEEDED:
            continue
        module, package = NEEDED[name]
        try:
            import_module(module)
        except ImportError as error:
            raise UserError(
                f'visualizer.vis_backends: {name} needs the package {package}, which cannot be '
                f'imported ({error}): run "pip install {package}", or leave the backend '
                'out.'
            ) from error
