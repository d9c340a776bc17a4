"""From a call's geometry to a launch: which kernel, with which plan, tables and parameters."""
