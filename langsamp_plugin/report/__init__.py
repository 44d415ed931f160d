"""From results to tables and pictures."""
