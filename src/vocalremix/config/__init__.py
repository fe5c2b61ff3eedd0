"""params.yaml and its profile."""
