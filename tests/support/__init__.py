"""Small real things that several rooms test with."""
