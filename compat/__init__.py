"""One small module per downstream project; none yet."""
