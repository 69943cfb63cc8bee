"""lb beside its peers: `python -m bench.compare`.

workload    what is asked of a proxy; the table of all
plan        which measurements, in which order, how long (pure)
measure     one measurement: a fresh proxy, one workload
figures     from what it saw to the figures that are compared (pure)
run         one measurement after the other, repeated where it has to be
results     what a run found, as it is kept
ratios      inside each round, and how sure they are (pure)
promises    what lb promises, and whether the run bears it out (pure)
report, chart, readme
"""
