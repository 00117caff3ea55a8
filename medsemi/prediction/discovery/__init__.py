"""What a folder holds: headers only, every file in exactly one case, and why each is used or not."""
