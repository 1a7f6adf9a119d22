"""networks.fast."""
