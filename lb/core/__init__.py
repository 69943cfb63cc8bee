"""The brain: what happened comes in as events, what to do goes out as commands.

Nothing here waits, and nothing here reads a clock: `now` is passed in.
"""
