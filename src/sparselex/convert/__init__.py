"""Other projects' dictionaries, read into our types and written from them: one file for each project."""
