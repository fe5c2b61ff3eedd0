"""What any room may use: errors, whole-or-nothing writing, locks, resumable pieces, the types of settings."""
