"""From whatever an archive hands over to results that can be trusted, or one plain sentence why not."""
