"""Who is labeled, the volumes, and the batch of every step."""
