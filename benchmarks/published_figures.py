"""What others published on the benchmarks that this project reads, as a page of the documentation.

    python benchmarks/published_figures.py > docs/results/benchmarks.md

Nothing is measured. The last column is for runs of this project: it stays empty where the data is not at
hand, and is never estimated.
"""

from cimeu.reports.published import BENCHMARKS, benchmark_rows

NAMES = {
    "blemore": "BLEMORE",
    "iemocap": "IEMOCAP",
    "msppodcast": "MSP-Podcast",
    "mer2023": "MER2023",
    "chsims": "CH-SIMS v2",
}
HEAD = """# Benchmarks: how this compares

    python benchmarks/published_figures.py > docs/results/benchmarks.md

Published figures in the metrics of each benchmark, with what keeps a run here from comparing with them directly. The
column "here" is empty: the data of these benchmarks was not at hand, and nothing is ever estimated. A report of runs on
one of these corpora holds its table.
"""


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """Markdown."""
    rows = benchmark_rows(BENCHMARKS)
    columns = ("Benchmark", *rows[0], "here")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for benchmark, row in zip(BENCHMARKS, rows, strict=True):
        lines.append(f"| {NAMES[benchmark.corpus]} | {' | '.join(row.values())} |  |")
    return HEAD + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
