"""Training and serving while everything around them fails: signals, full disks, limits, lost data, lost machines.

python -m benchmarks.chaos [--only TEXT]          results/chaos.json, one case after the other
python -m benchmarks.chaos.random_kills           results/killed_at_random.json, 1,000 kills at random moments
"""
