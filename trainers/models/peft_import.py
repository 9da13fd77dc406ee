"""PEFT without what it imports for one method only.

import_peft()      # before the first `import peft`
"""

import sys
from importlib import import_module

QUANTISER = "bitsandbytes"


def import_peft() -> None:
    """Import PEFT as if bitsandbytes were not there, which takes 2 s of each start, then undo that.

    PEFT imports it wherever it is installed; its 4-bit layers ask for it again when qlora does.
    """
    if "peft" in sys.modules or QUANTISER in sys.modules:
        return
    sys.modules[QUANTISER] = None  # type: ignore[assignment]
    try:
        import_module("peft")
    finally:
        del sys.modules[QUANTISER]
