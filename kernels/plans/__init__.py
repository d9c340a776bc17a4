"""Plans: the sizes and steps of a transform, decided once per geometry."""
