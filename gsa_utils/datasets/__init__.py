"""Image sets: by name, from a folder of your own, generated."""
