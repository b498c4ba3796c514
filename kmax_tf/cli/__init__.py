"""The command `kmax`: one file a sub-command."""
