"""What a corpus is: its bands, grids, shards and STAC catalog. No GDAL, no JAX, no provider's network."""
