"""Few-shot learners and what trains, checks and stores them. Knows nothing of the service above it."""
