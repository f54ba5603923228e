"""Feature records: statistics, examples, logit effects and neighbours of every latent."""
