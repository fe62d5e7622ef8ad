"""Scores of a model, measures of a map, and what both are held against."""
