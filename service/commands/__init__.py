"""Commands that measure, one file each, and what all commands say to a terminal."""
