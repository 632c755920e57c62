"""The command `deepsentinel WORD`: the same programs as `python -m package.program`, found by a short name."""

import importlib
import runpy
import sys

PROGRAMS = {
    "sample": ("ingest.sample", "draw the places of a corpus and write them as a plan"),
    "build": ("ingest.build", "build a corpus from a plan: scenes, pairs, pixels, labels, shards"),
    "status": ("ingest.status", "count the places of a build by what became of them"),
    "region": ("ingest.region", "write a datacube of any area in any projection, for embeddings of one region"),
    "sandbox": ("ingest.sandbox", "the offline Earth: make an archive, serve it like the Planetary Computer"),
    "publish": ("catalog.publish", "publish built corpora as a STAC catalog with an index and previews"),
    "publish-model": (
        "catalog.publish_model",
        "publish a trained model, and its embeddings, in the catalog of its corpus",
    ),
    "search": ("catalog.search", "find patches by place, time, clouds, classes, split; save a subset to train on"),
    "serve": ("catalog.serve", "serve a published catalog: search API, static catalog, pixels, STAC Browser"),
    "browser": ("catalog.browser", "build STAC Browser, and put it into a published catalog"),
    "validate": ("catalog.validate", "check a published catalog: structure, checksums, STAC, physics"),
    "pretrain": ("dsjax.pretrain", "pre-train an encoder on patches without labels"),
    "embed": ("dsjax.embed", "write embeddings of the patches of a corpus as a GeoParquet table"),
    "evaluate": ("dsjax.evaluate", "score frozen embeddings against floors, for each sensor"),
}
EXIT_USAGE = 2


def main() -> None:
    """Run the program that the first argument names, with the other arguments."""
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("-h", "--help"):
        sys.stdout.write(_usage())
    elif word == "--version":
        version = importlib.import_module("importlib.metadata").version("deepsentinel")
        sys.stdout.write(f"deepsentinel {version}\n")
    elif word in PROGRAMS:
        del sys.argv[1]
        runpy.run_module(PROGRAMS[word][0], run_name="__main__", alter_sys=True)
    else:
        sys.stderr.write(f"error: there is no program {word!r}\n\n{_usage()}")
        raise SystemExit(EXIT_USAGE)


def _usage() -> str:
    lines = [f"  {word:<13} {what}" for word, (_, what) in PROGRAMS.items()]
    return "usage: deepsentinel WORD [options]; each WORD has a --help\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
