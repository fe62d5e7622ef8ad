# The public names and where they live: read by lazy_loader when the package is imported, and by editors.
from .attended import attend as attend
from .attention import FreeMap as FreeMap
from .attention import GlobalPooling as GlobalPooling
from .attention import GlobalSpatialAttention as GlobalSpatialAttention
from .datasets.folder import load_image_folder as load_image_folder
from .datasets.load import load_image_set as load_image_set
from .datasets.phantoms import make_phantom as make_phantom
from .evaluation.concentration import concentration as concentration
from .evaluation.knockout import knock_out as knock_out
from .evaluation.maps import alignment as alignment
from .evaluation.maps import effective_area as effective_area
from .evaluation.maps import localisation as localisation
from .evaluation.maps import stability as stability
from .evaluation.scores import evaluate as evaluate
from .evaluation.scores import predict as predict
from .export.saved import load_model as load_model
from .export.saved import save_model as save_model
from .files import DataUnavailable as DataUnavailable
from .images import ImageSet as ImageSet
from .networks.backbones import build_backbone as build_backbone
from .pixels.features import pixel_features as pixel_features
from .planting import patch_region as patch_region
from .planting import plant_marker as plant_marker
from .planting import plant_patch as plant_patch
from .probing.activations import frozen_activations as frozen_activations
from .training.loop import fit as fit
from .training.state import TrainingRun as TrainingRun
from .widgets.inspector import MapInspector as MapInspector
from .widgets.live import LiveTraining as LiveTraining

__version__: str
