"""What every test needs: the package registered, and two cores shared fairly."""

import os

# Before torch is imported: more threads than cores make the small models of the tests crawl.
os.environ.setdefault('OMP_NUM_THREADS', '1')
