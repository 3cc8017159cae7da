"""What runs on the GPU. The modules but ``tiling`` import Triton, so nothing is imported here.

A map (N, C, H, W) is cut into tiles of some channels and places (H x W) of one sample, and one
program takes one tile, or, where it sums, a few that follow each other. No program waits for
another and none adds to what another has written, so the same bits come out each time.
"""
