"""A container's health check: exits 0 when the address answers, the image having no curl.

``healthcheck.py URL [STATUS]``: STATUS is the answer that means well, 200 unless given.
"""

import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 4.0


def main(arguments: list[str]) -> int:
    """Ask once; print why not when it is not well."""
    url = arguments[0]
    expected = int(arguments[1]) if len(arguments) > 1 else 200
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_SECONDS) as response:
            status = response.status
    except urllib.error.HTTPError as error:
        error.close()
        status = error.code
    except OSError as error:
        print(error)
        return 1
    if status != expected:
        print(f"{url} answered {status}, not {expected}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
