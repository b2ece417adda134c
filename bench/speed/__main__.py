"""The vector API's speed in tables: bench/vectors [--quick] [--data DIR] [--only SECTION ...]

Ratios are taken in alternation in one run, with recall beside them, and each target says whether it is met
or by how much not. --quick ends within two minutes, once the rivals are installed. The full run takes about
twenty minutes and keeps what it printed as a dated file under bench/results. PostgreSQL is one of the bench's
own, started as the product starts it, unless DATABASE_URL names a server it may create databases in.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from bench.speed import machine, report, setup

SECTIONS = ("search", "ingest", "live", "filters", "growth", "standing")


def sections() -> dict:
    """The sections by name; imported late, as they need the product's settings."""
    from bench.speed import filtering, growth, ingesting, live, searching, standing

    modules = (searching, ingesting, live, filtering, growth, standing)
    return {name: module.run for name, module in zip(SECTIONS, modules, strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/vectors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, within two minutes")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("AINDUS_BENCH_DATA"),
        help="folder of real documents of 384 dimensions, used where it has as many as are wanted",
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS, metavar="SECTION")
    parser.add_argument("--no-rivals", action="store_true", help="leave out FastAPI and chromadb")
    parser.add_argument("--scale", type=float, default=1.0, help="so many times the points of the full run")
    parser.add_argument("--keep", action="store_true", help="keep the result of a quick or partial run too")
    options = parser.parse_args()
    started = time.monotonic()
    said = report.Report()
    said.say(f"bench/vectors {' '.join(sys.argv[1:])} on {report.machine_line()}")
    url = os.environ.get("DATABASE_URL") or None
    with machine.Postgres(url) as postgres, postgres.database("vectors") as database:
        machine.migrate(database)
        setup.configure(database)
        with machine.api(database) as api:
            bench = setup.Bench(
                report=said,
                sizes=setup.Sizes.quick() if options.quick else setup.Sizes().scaled(options.scale),
                postgres=postgres,
                url=database,
                api=api,
                data=Path(options.data) if options.data else None,
                rivals=not options.no_rivals,
            )
            for name, run in sections().items():
                if name in options.only:
                    run(bench)
    said.summary()
    said.say(f"took {time.monotonic() - started:.0f} s")
    if options.keep or not (options.quick or tuple(options.only) != SECTIONS):
        print(f"kept as {said.keep(machine.ROOT / 'bench' / 'results', 'vectors')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
