"""Many runs, one table: which runs a sweep has, how they are trained, what stands in its table."""
