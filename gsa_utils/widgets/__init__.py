"""What moves in a notebook: the inspector of a map, and a training that is watched."""
