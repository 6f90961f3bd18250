"""From corpus sources to corpus stages: read and cleaned part by part, then selected and split as a whole."""
