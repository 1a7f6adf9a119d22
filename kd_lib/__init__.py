"""Does a network that an ensemble is distilled into inherit the ensemble's features."""
