"""`python -m seglab` is the command `seglab`; `torchrun -m seglab train ...` lets several processes train together."""

import os
import sys

from seglab.cli import main


def start() -> int:
    """Run the command line, unless several processes would each do all of it; returns the exit code."""
    processes = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if processes > 1 and sys.argv[1:2] != ["train"]:
        if os.environ.get("RANK") == "0":
            got = " ".join(sys.argv[1:2]) or "no command"
            print(f"seglab: command must be train to be shared by {processes} processes; got {got}.", file=sys.stderr)
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(start())
