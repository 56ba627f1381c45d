"""Exit code 0 if the kshot of this container answers requests; it says why not, for `docker inspect`."""

import os
import sys
import urllib.error
import urllib.request

_SECONDS = 4

try:
    urllib.request.urlopen(f"http://127.0.0.1:{os.environ.get('KSHOT_PORT', '8000')}/readyz", timeout=_SECONDS)
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode(errors="replace"))
except OSError as error:
    sys.exit(str(error))
