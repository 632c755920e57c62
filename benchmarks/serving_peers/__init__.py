"""Other STAC APIs, started on the items that `benchmarks.serving` asks ours about.

    python -m venv peers && peers/bin/pip install -r benchmarks/serving_peers/requirements.txt
    python -m benchmarks.serving run --sizes --peers-python peers/bin/python

Each is served as it comes. Those on pgstac need PostgreSQL with PostGIS, which `tools/debian_packages` installs.
"""
