"""The features of a pixel, from images in memory, streams of them, or shards in several processes."""
