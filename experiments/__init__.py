"""The experiments: commands that train, compress and compare models with `kfc_jax` layers."""
