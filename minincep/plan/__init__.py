"""From one forward pass to a fast plan: the trace, and the passes that rewrite it."""
