"""The kernels of the closed form, a module for each way to run them; see :mod:`.kernels`."""
