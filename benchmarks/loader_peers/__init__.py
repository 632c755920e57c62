"""How other projects store and load the same patches: the comparators of `benchmarks.loader`.

Each module here runs in a Python of its own, described by `requirements.txt`, and knows nothing of this project's
packages: it reads plain `.npy` files of pixels, writes them as its format would, and loads batches as its
documentation shows.
"""
