"""gsa: what one shared map does for images of your own.

gsa own FOLDER             is one shared map reasonable there, and does it help? A verdict, a map and a report.
gsa predict MODEL IMAGES   what a saved model says about new image files
gsa study GRID             a comparison of your own, a grid of runs in a TOML file.

Research and teaching, not a medical device. Images stay on this machine.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

import joblib
import torch

from gsa_utils.export.saved import load_model, read_image
from gsa_utils.files import DataUnavailable
from gsa_utils.own.examine import examine
from gsa_utils.study.__main__ import main as study


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["study"]:
        return study(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="gsa", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    own = commands.add_parser("own", help="examine a folder of images", description=examine.__doc__.splitlines()[0])
    own.add_argument(
        "source", help="a folder with one sub-folder per class, or a CSV with the columns file, label, person"
    )
    own.add_argument(
        "--out", type=Path, help="where the results go; by default SOURCE-gsa. The same command goes on there"
    )
    own.add_argument("--size", type=int, default=96, help="rows and columns that all images are resized to (96)")
    own.add_argument("--persons", metavar="PATTERN", help="a regular expression that finds the person in a file's path")
    own.add_argument("--maps", type=int, default=4, help="how many shared maps (4)")
    own.add_argument("--repeats", type=int, default=2, help="of the five folds (2)")
    own.add_argument(
        "--most", type=int, default=2000, help="images that are looked at, at random if there are more (2000)"
    )
    predict = commands.add_parser(
        "predict", help="ask a saved model about image files", description=predict_files.__doc__
    )
    predict.add_argument("model", help="a file that gsa own or save_model wrote")
    predict.add_argument("images", nargs="+", help="image files")
    commands.add_parser("study", help="a comparison of your own; gsa study --help says more", add_help=False)
    options = parser.parse_args(arguments)
    try:
        if options.command == "predict":
            return predict_files(options.model, options.images)
        source = Path(options.source)
        out = options.out or source.with_name(f"{source.stem}-gsa")
        torch.set_num_threads(min(torch.get_num_threads(), idle_cpus()))
        examine(source, out, options.size, options.persons, options.maps, options.repeats, options.most)
    except (ValueError, OSError, DataUnavailable, ModuleNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


def idle_cpus() -> int:
    """CPUs that no other process keeps busy, at least one: threads beyond them wait for each other.

    With two threads beside two busy processes an examination of one minute took twenty.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows has none
    return max(1, round(joblib.cpu_count() - load))


def predict_files(model: str, files: list[str]) -> int:
    """Print a table (CSV): of each image file the most probable class, and the probability of every class."""
    network = load_model(model)
    classes = network.card["classes"]
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["file", "class", *classes])
    failed = 0
    for file in files:
        try:
            image = read_image(file, network.card)
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
            continue
        with torch.inference_mode():
            probabilities = network(image)[0].softmax(dim=0)
        table.writerow([file, classes[int(probabilities.argmax())], *(f"{share:.4f}" for share in probabilities)])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
