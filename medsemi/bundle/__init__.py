"""What every bundle shares: the configuration linter and the start of a run."""
