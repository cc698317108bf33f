"""Compare models on your own pictures, in the browser: `python app.py`.

The page itself is in `seglab.page`, so that `seglab app` works from an installed package too.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads must not hold a shared core

from seglab.page import build_app, main  # noqa: E402

__all__ = ["build_app", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
