"""`make bench`: the occlusion engine and the trainer beside their peers."""
