"""Errors for people: one sentence that names the file or key, what is wrong, and what to do.

MedsemiError
├── ManifestError    a manifest, or the data that it lists, cannot be used
├── ConfigError      a bundle configuration or an override is wrong
├── CheckpointError  a checkpoint cannot be loaded or belongs to another configuration
├── DataError        a volume cannot be read or does not fit
└── OutputError      a file cannot be written
"""


class MedsemiError(Exception):
    """Base of all errors that a user can cause and mend."""


class ManifestError(MedsemiError):
    """A manifest, or the data that it lists, cannot be used."""


class ConfigError(MedsemiError):
    """A bundle configuration or an override is wrong."""


class CheckpointError(MedsemiError):
    """A checkpoint cannot be loaded or belongs to another configuration."""


class DataError(MedsemiError):
    """A volume cannot be read or does not fit."""


class OutputError(MedsemiError, OSError):
    """A file cannot be written; it keeps number and name of the error that the system gave."""

    def __str__(self) -> str:
        """Name the file and the reason."""
        return f"{self.filename}: cannot be written ({self.strerror}); choose another place or make room."
