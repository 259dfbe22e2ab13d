"""The benchmark of the CUDA target: its cases, its peers, its sections, its file."""
