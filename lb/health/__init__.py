"""What probes show, and when the next one runs. Pure automata: results and `now` come in."""
