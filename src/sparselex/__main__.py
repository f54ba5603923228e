"""`sparselex`, `python -m sparselex`, and with it `torchrun -m sparselex`: the command line."""

try:
    from sparselex.cli.main import main
except KeyboardInterrupt:  # before there is a door that could say more
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
