"""Finite-state automata: latents that raise tokens on which other latents are active next."""
