"""The input side: files, tables and arrays → blocks of samples, checked against what the model takes."""
