"""Windows and remixes become training examples."""
