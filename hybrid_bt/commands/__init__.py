"""One file a command.

Products of matrices are small here: a second thread of theirs would only wait, spinning on the other core.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, by what numpy and torch load
