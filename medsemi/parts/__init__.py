"""What methods are built from; each file is one idea."""
