"""Files that hold other files, or bytes in a smaller form: read as streams, within limits, never unpacked to disk."""
