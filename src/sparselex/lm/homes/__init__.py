"""Where subject models come from: one file for each library that runs them."""
