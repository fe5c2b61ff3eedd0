"""Which parts of songs are trained on: the window table, source activity detection, static copies."""
