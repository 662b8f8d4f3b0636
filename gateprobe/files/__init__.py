"""What a name means: files by path and by URL, and which of two names are the same file."""
