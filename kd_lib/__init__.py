"""Does a network that an ensemble is distilled into inherit the ensemble's features."""

import sys

import lazy_loader

# Altair imports jsonschema, which, where it finds this package, builds a grammar of international addresses from it:
# two seconds for every kernel, to check what nothing here has.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# A room, and in it a module, is loaded when something of it is used: most commands need few of them.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
