"""Readers of file formats: byte streams to records and to what could not be read as one."""
