"""Kernels in C++ for what torch computes on CPUs in more passes over memory than it needs."""
