"""Documents to token batches."""
