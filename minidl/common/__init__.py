"""The low floor: what belongs to nobody, and imports nothing of minidl: array kinds, checks, hints, random numbers."""
