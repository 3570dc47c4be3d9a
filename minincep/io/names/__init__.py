"""What other people call the weights: one table for each source."""
