"""Frozen policies: files of inert data, asking them, making them."""

import importlib
import os
import sys
import tempfile

COMPILED = "TORCHINDUCTOR_CACHE_DIR"  #: names the cache folder of torch's compiler


def import_compiler() -> None:
    """Import torch's compiler, as making any optimiser does, without the cache folder that it makes as it is imported:
    nothing is compiled here, and the folder would stay in the temporary directory."""
    if "torch._dynamo" in sys.modules or COMPILED in os.environ:
        return
    os.environ[COMPILED] = tempfile.gettempdir()  # which is there
    try:
        importlib.import_module("torch._dynamo")
    finally:
        del os.environ[COMPILED]
