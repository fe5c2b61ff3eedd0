"""Any source of songs or speech, brought to one layout on disk."""
