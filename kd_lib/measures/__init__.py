"""Functions of arrays and tables: how alike maps are, thresholds, times of learning, tests. They read no file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
