"""Values: what lb talks about, frozen and without behaviour that needs a clock, a file or a socket."""
