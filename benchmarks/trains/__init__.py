"""Small training scripts, one for each library, that cold.py starts from the shell. Each runs by itself, too."""
