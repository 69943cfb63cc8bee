"""`python -m lb` is `lb`."""

from lb.cli import main

if __name__ == "__main__":
    main()
