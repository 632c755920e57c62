"""A published catalog over HTTP: search API, static catalog, pixels, previews and browser on one origin."""
