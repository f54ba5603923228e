"""One file per page: workspace in, context out; pure functions, tested without HTTP."""
