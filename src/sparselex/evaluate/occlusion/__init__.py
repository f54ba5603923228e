"""Occlusion on a trained model: whether a dictionary misses one attribute because another one is stronger."""
