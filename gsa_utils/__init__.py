"""Global spatial attention: one learned weight map for all aligned images (arXiv:2007.15897).

Every public name can be imported from here; each is loaded from its module on first use, so that `import gsa_utils`
costs little more than `import torch` and needs neither widgets, notebooks nor a plotting back end.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "ImageSet": "images",
    "make_phantom": "phantoms",
    "DataUnavailable": "datasets",
    "load_image_set": "datasets",
    "load_image_folder": "folders",
    "pixel_features": "pixels",
    "GlobalSpatialAttention": "attention",
    "FreeMap": "attention",
    "attend": "attention",
    "build_backbone": "backbones",
    "TrainingRun": "training",
    "fit": "training",
    "evaluate": "evaluation",
    "alignment": "map_quality",
    "localisation": "map_quality",
    "stability": "map_quality",
    "knock_out": "knockout",
    "LiveTraining": "live",
    "MapInspector": "inspector",
}
# `from gsa_utils import *` must not need widgets.
__all__ = ["__version__", *(name for name, module in _HOME.items() if module != "inspector")]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gsa_utils' has no attribute {name!r}; it has {', '.join(_HOME)}")
    return getattr(import_module(f"gsa_utils.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
