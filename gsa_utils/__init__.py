"""Global spatial attention: one learned weight map for all aligned images (arXiv:2007.15897).

Every public name can be imported from here; each is loaded from its module on first use (the table is __init__.pyi, so
that editors know it too). `import gsa_utils` costs little more than `import torch` and needs neither widgets, notebooks
nor a plotting back end.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.append("__version__")
__all__.remove("MapInspector")  # `from gsa_utils import *` must not need widgets
