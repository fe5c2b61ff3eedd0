"""Our code timed beside a plain textbook version of the same: `python -m benchmarks` writes docs/performance.md."""
