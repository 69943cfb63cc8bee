"""How sessions are spread: from the weights of a pool to the tables that the data path walks. Pure."""
