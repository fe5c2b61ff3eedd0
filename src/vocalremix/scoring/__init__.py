"""How good estimates are: metrics, their protocols, test songs, other separators."""
