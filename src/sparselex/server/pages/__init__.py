"""One file per page, and the parts that several have: an opened workspace in, a record out; tested without HTTP."""
