"""`python -m sparselex`, and with it `torchrun -m sparselex`: the command line."""

from sparselex.cli.main import main

if __name__ == "__main__":
    main()
