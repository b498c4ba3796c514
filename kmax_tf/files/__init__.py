"""Files: written whole or not at all, local or remote; images; processes; progress."""
