"""Pure geometry on arrays and meshes, in LPS millimetres."""
