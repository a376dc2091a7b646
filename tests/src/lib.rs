//! Suites over both worlds: beliefs about the kernel, mutants, layers, tidiness.
