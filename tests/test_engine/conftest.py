"""A folder with a tiny data set, and the tools run in it."""

from tests.helpers.tool_runs import place, refused  # noqa: F401
