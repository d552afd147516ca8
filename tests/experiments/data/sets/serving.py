"""A server in this process that stands in for the one a data set is downloaded from."""

import contextlib
import functools
import hashlib
import http.server
import pathlib
import threading

from tensorflow_datasets.core.download import checksums


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(folder: pathlib.Path):
    """Serves a folder's files; yields the address."""
    handler = functools.partial(_QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def unserved_address() -> str:
    """Returns an address at which nobody listens any more."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _QuietHandler) as server:
        return f"http://127.0.0.1:{server.server_port}/"


def url_infos(address: str, folder: pathlib.Path) -> dict[str, checksums.UrlInfo]:
    """Returns what TFDS must know of the files before it downloads them."""
    return {
        address + file.name: checksums.UrlInfo(
            size=file.stat().st_size,
            checksum=hashlib.sha256(file.read_bytes()).hexdigest(),
            filename=file.name,
        )
        for file in folder.iterdir()
    }
