"""Features as other projects' dashboards: made of a run's evidence, and written in their layouts."""
