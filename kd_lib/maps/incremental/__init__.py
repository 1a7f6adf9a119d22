"""maps.incremental."""
