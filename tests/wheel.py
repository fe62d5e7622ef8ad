"""What must hold where nothing but the wheel is installed: `make wheel` runs this far from the checkout."""

from pathlib import Path

import gsa_utils
from gsa_utils import (
    GlobalSpatialAttention,
    alignment,
    attend,
    build_backbone,
    evaluate,
    fit,
    make_phantom,
    pixel_features,
)

assert "site-packages" in Path(gsa_utils.__file__).parts, gsa_utils.__file__
phantom = make_phantom("phantom-chest", 60, 24)
assert alignment(phantom) > 0.5
train, test = phantom.split(0.5, seed=0)
attention = GlobalSpatialAttention(pixel_features(train, rank=8))
run = fit(attend(build_backbone("small", 1, 2, 24), attention), train, test, epochs=1, progress=False)
scores = evaluate(run.model, test)
assert set(scores) >= {"accuracy", "auroc", "loss"}
missing = [name for name in gsa_utils.__all__ if not hasattr(gsa_utils, name)]
assert missing == [], missing
print(
    f"gsa_utils {gsa_utils.__version__}, installed from its wheel: {len(gsa_utils.__all__)} public names, a map trained"
)
