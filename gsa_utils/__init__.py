"""Global spatial attention: one learned weight map for all aligned images (arXiv:2007.15897).

Every public name can be imported from here; each is loaded from its module on first use, so that `import gsa_utils`
costs little more than `import torch` and needs neither widgets, notebooks nor a plotting back end.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "ImageSet": "images",
    "make_phantom": "datasets.phantoms",
    "DataUnavailable": "datasets.download",
    "load_image_set": "datasets.load",
    "load_image_folder": "datasets.folder",
    "pixel_features": "pixels.features",
    "GlobalSpatialAttention": "attention",
    "FreeMap": "attention",
    "attend": "attention",
    "build_backbone": "networks.backbones",
    "TrainingRun": "training.loop",
    "fit": "training.loop",
    "evaluate": "evaluation.scores",
    "alignment": "evaluation.maps",
    "localisation": "evaluation.maps",
    "stability": "evaluation.maps",
    "knock_out": "evaluation.knockout",
    "LiveTraining": "widgets.live",
    "MapInspector": "widgets.inspector",
}
# `from gsa_utils import *` must not need widgets.
__all__ = ["__version__", *(name for name, module in _HOME.items() if module != "widgets.inspector")]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'gsa_utils' has no attribute {name!r}; it has {', '.join(_HOME)}")
    return getattr(import_module(f"gsa_utils.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
