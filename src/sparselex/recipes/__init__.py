"""Runs: what each reads, the stages that it goes through, and the work of each."""
