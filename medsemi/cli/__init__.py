"""The commands `medsemi inspect` and `medsemi predict`: parse, call, print."""
