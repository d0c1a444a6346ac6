"""Private database servers in temporary directories, for tests, benchmarks and trying things out."""
