"""What people measure dictionaries by with labels: sparse probing, SCR, TPP, RAVEL, each with its floors."""
