"""What a probe asks once it is connected: a file for each kind of question, with one function `ask`."""
