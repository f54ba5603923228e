"""What people write about features: labels, stars, notes, lists and case studies, and the one door that writes."""
