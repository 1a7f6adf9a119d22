"""Does a network that an ensemble is distilled into inherit the ensemble's features."""

import sys

# Altair imports jsonschema, which, where it finds this package, builds a grammar of international addresses from it:
# two seconds for every kernel, to check what nothing here has.
sys.modules.setdefault("rfc3987_syntax", None)
