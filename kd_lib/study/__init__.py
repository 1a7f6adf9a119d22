"""An opened run (`study.open`), the pipeline that makes one, and one module a notebook."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
