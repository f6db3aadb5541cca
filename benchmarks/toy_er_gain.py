"""What ER gains on a toy culture never seen, by the strength of culture's effect.

    python benchmarks/toy_er_gain.py build/toy --strengths 0 0.5 1 1:0 --seeds 3 -o build/er_gain

`1:0` is strength 1 where no culture has gestures of its own, so that what sets cultures apart is no shortcut to the
emotion. Draws a toy corpus (synthetic) per strength, runs the recipe `toy/leave_one_culture_out` (forward models)
with and without ER and with random style labels, and writes `er_gain.csv` and `er_gain.svg`: UAR gained
over the row without ER, paired on the same clips, intervals drawn over speakers within each culture. Resumes;
several processes may share the folder.
"""

import argparse
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from cimeu.bench.bench import bench_recipe
from cimeu.bench.comparison import finished, read_bench
from cimeu.bench.rows import rows_named
from cimeu.corpora.toy.corpus import TOY_VERSION, ToyConfig, make_toy
from cimeu.evaluation.uncertainty import compared
from cimeu.experiments.recipe import load_recipe
from cimeu.reports.views import Figures

RECIPE = "toy/leave_one_culture_out"
WITHOUT = "without-er"
ROWS = (WITHOUT, "full", "random-style")


def gains(folder: Path, condition: str, seeds: int, workers: int) -> list[dict[str, object]]:
    """One line per row, with its gain over the row without ER, in points."""
    strength, habit = (float(number) for number in (condition if ":" in condition else f"{condition}:1").split(":"))
    name = f"{strength:g}" if habit == 1 else f"{strength:g}_{habit:g}"
    make_toy(ToyConfig(culture_strength=strength, habit=habit), folder / f"toy_{name}")
    recipe = load_recipe(
        RECIPE,
        [
            f"data.manifest={folder}/toy_{name}/manifest.csv",
            f"data.features={folder}/features_{name}",
            *("direction=forward", "evaluation.probes=false"),
        ],
    )
    place = folder / f"bench_{name}"
    bench_recipe(recipe, rows_named(",".join(ROWS)), place, seeds=range(seeds), workers=workers)
    bench = read_bench(place)
    cells = {row: finished(bench, place, row, bench.seeds) for row in ROWS}
    figures, found = Figures(bench, cells), []
    for row, there in cells.items():
        before, estimates = figures.of(WITHOUT), figures.of(row)
        assert estimates is not None and before is not None, f"no complete seed of `{row}`"  # noqa: PT018
        gain = compared(before["uar"], estimates["uar"])
        mean = estimates["uar"].mean
        tested = [cell.predictions["part"] == "test" for (_, seed), cell in there.items() if seed == bench.seeds[0]]
        n_tested = sum(int(part.sum()) for part in tested)
        found.append({
            "strength": strength, "habit": habit, "row": row, "N": n_tested, "seeds": len(bench.seeds),
            "uar": 100 * mean.value, "uar_low": 100 * mean.low, "uar_high": 100 * mean.high,
            "gain": 100 * gain.value, "gain_low": 100 * gain.low, "gain_high": 100 * gain.high,
            "cultures_improved": gain.improved, "p": gain.p,
        })  # fmt: skip
    return found


def drawn(table: pd.DataFrame, path: Path) -> None:
    """Gain by strength, a line for each row; without habits, a point apart."""
    matplotlib.rcParams["svg.hashsalt"] = "cimeu"
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    drawn_rows = table[table["row"] != WITHOUT]
    for (row, habit), lines in drawn_rows.groupby(["row", "habit"], sort=False):
        shift = 0.01 * ROWS.index(row) + 0.04 * (habit < 1)
        below, above = lines["gain"] - lines["gain_low"], lines["gain_high"] - lines["gain"]
        colour, marker = f"C{ROWS.index(row)}", "o" if habit == 1 else "s"
        label = row if habit == 1 else f"{row}, no shortcut"
        places = lines["strength"] + shift
        axes.errorbar(places, lines["gain"], (below, above), marker=marker, color=colour, capsize=3, label=label)
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(xlabel="strength of culture's effect (synthetic clips)", ylabel="UAR points over without ER")
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--strengths", nargs="+", default=["0", "0.5", "1", "1:0"])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("-o", "--output", type=Path, default=Path("build/er_gain"))
    given = arguments.parse_args()
    table = pd.DataFrame(
        [line for strength in given.strengths for line in gains(given.folder, strength, given.seeds, given.workers)]
    )
    given.output.mkdir(parents=True, exist_ok=True)
    table.round(2).to_csv(given.output / "er_gain.csv", index=False)
    drawn(table, given.output / "er_gain.svg")
    print(f"toy corpus version {TOY_VERSION} (synthetic); points of UAR over `{WITHOUT}`, 95 % intervals")
    print(table.round(1).to_string(index=False))


if __name__ == "__main__":
    main()
