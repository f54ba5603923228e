"""Speeds as ratios of interleaved repeats in one run: `python -m benchmarks.NAME [--quick] [--json PATH]`."""
