"""A service that conducts one session, as far as a test needs one: its runner is started again whenever it dies.

python -m tests.e2e.session_service JOURNAL RAY_DIRECTORY
"""

from __future__ import annotations

import pickle
import signal
import sys
import time
from pathlib import Path

from tests.e2e.session_stage import FileSessionJournal
from workers.cluster import Cluster, ClusterSettings
from workers.session_settings import SessionSettings


def main(directory: Path, ray: Path) -> None:
    journal: FileSessionJournal = pickle.loads((directory / "journal.pickle").read_bytes())
    cluster = Cluster(ClusterSettings(address=None, cpus=1, temp_dir=ray, token_file=directory / "token"))
    cluster.connect()
    settings = SessionSettings(watchdog_log=str(directory / "logs" / "watchdog.log"))
    # As a service ends that is told to.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        while True:
            run = cluster.start_session("s1", journal, settings)
            assert cluster.sessions() == ["s1"]
            while not cluster.ended(run)[0]:
                time.sleep(0.1)
            journal = journal.taken_over()
    finally:
        cluster.disconnect()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
