"""The trainer, its checkpoint, tracking and handlers."""
