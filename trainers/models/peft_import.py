"""Import PEFT without bitsandbytes, which only qlora needs.

import_peft()      # before the first `import peft`
"""

import sys
from importlib import import_module

QUANTISER = "bitsandbytes"


def import_peft() -> None:
    """Import PEFT with bitsandbytes hidden, which saves 2 s per start.

    PEFT imports it if it is installed; its 4-bit layers import it again when qlora needs them.
    """
    if "peft" in sys.modules or QUANTISER in sys.modules:
        return
    sys.modules[QUANTISER] = None  # type: ignore[assignment]
    try:
        import_module("peft")
    finally:
        del sys.modules[QUANTISER]
