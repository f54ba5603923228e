"""Explanations to and from other projects: taken into a run's store, and written in their layouts."""
