"""Images: three sources behind one door, in train, test and probe parts; drawn ones come with the truth."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
