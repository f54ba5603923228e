"""Those who hold explanations against held-out documents."""
