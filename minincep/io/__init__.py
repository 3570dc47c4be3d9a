"""Files: weights, pictures, labels, references."""
