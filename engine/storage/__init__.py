"""Files that survive kills and enemies: atomic writes, checksummed arrays, fingerprints, safe readers of foreign tensor files."""
