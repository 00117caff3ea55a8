"""The commands of `medsemi`: parse, call, print."""
