"""The benchmark on a GPU: its cases, its peers, its sections, its file."""
