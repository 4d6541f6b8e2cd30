"""The training methods: one file each, with a config and a test; see `nightseg_train.method` for the seam."""
