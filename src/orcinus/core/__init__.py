"""Records, errors, configuration, statistics and the extension points, which all rooms use."""
