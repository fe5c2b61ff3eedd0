"""What remixing does for vocal extraction when data is scarce: the library behind the study."""
