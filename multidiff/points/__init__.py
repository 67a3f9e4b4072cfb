"""3D point clouds: normalised points and a transformer whose cost is linear in their number."""
