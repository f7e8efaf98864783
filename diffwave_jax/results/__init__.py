"""Results to hear and see: WAV files, pictures, a gallery page."""
