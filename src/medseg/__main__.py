"""`python -m medseg` and `torchrun -m medseg` are the `medseg` command."""

from medseg.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
