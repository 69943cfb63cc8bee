"""Which endpoints serve, and how often each: from a pool's state to the tables that the data path walks. Pure."""
