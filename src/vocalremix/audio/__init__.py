"""Reading, writing and resampling audio."""
