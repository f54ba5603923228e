"""What the verbs of a run do, one file each: loaded when there is something to be done."""
