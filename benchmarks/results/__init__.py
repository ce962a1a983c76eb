"""Results of the benchmarks, installed as `snnlib.benchmark_results` for the chapters to read."""
