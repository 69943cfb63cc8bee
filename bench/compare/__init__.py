"""lb beside its peers: `python -m bench.compare`.

One measurement is one proxy, freshly started, in one scenario. A round has every peer once in each scenario;
every other round goes backwards (A B C D, D C B A), so that a drift of the machine falls on all alike.
"""
