"""Universality: are latents of one run there again in a run of another model, more than that model's neurons are?"""
