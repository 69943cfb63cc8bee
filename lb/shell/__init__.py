"""All input and output of the supervisor. `datapath` alone imports the compiled extension."""
