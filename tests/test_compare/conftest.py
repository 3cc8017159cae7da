"""Work folders to compare."""

from tests.helpers.work_folders import make_run, three_seeds  # noqa: F401
