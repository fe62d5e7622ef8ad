"""Every figure of the lessons, as pure functions from tensors to a Figure or an RGB array."""

from gsa_utils.plots.images import (
    contact_sheet,
    data_matrix,
    image_rows,
    inspector_report,
    map_rows,
    pixel_scatter,
    signed_maps,
    training_progress,
    weight_maps,
)
from gsa_utils.plots.planes import placed, planes
from gsa_utils.plots.scores import bands, costs, curves, differences, intervals, seeds

__all__ = [
    "bands",
    "contact_sheet",
    "costs",
    "curves",
    "data_matrix",
    "differences",
    "image_rows",
    "inspector_report",
    "intervals",
    "map_rows",
    "pixel_scatter",
    "placed",
    "planes",
    "seeds",
    "signed_maps",
    "training_progress",
    "weight_maps",
]
