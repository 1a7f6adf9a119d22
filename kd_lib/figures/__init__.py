"""What people see: charts, pictures of images and their maps, and how notebooks and pages show them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
